"""Training data for tests of the trainer, and readers of its results."""

from __future__ import annotations

import torch
from transformers import TrainerCallback

RICH = {"latent_dropout": 0.2, "encoder_corruption": 0.5, "fully_masked_share": 0.3, "time_distribution": "joint"}


def two_stages(steps, mdlm=None, **objective):
    """The paper's two stages, an MDLM before them if that has a length, `objective` being the first one's own."""
    before = [] if mdlm is None else [{"name": "mdlm", "steps": mdlm}]
    return [*before, {"name": "encoder", "steps": steps, "objective": objective}, "prior"]


def one_stage(steps, mdlm=None, **options):
    """One stage in which the latents' weight rises over so many steps, an MDLM before it if that has a length."""
    before = [] if mdlm is None else [{"name": "mdlm", "steps": mdlm}]
    return [*before, {"name": "joint", "ramps": {"latent_loss_weight": {"steps": steps, **options}}}]


def texts(rows=64, length=12, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return [{"input_ids": row} for row in torch.randint(1, 10, (rows, length), generator=generator)]


def state_of(trainer):
    """Returns the state of a run: weights, buffers, and the average."""
    state = {name: weight.detach().clone() for name, weight in trainer.model.state_dict().items()}
    return state | {f"average {i}": weight.clone() for i, weight in enumerate(trainer.ema.average.shadow_params)}


def averaged_weights(trainer):
    with trainer.ema.applied():
        return {name: weight.clone() for name, weight in trainer.model.state_dict().items()}


def assert_same(left, right):
    assert left.keys() == right.keys()
    different = [name for name in left if not torch.equal(left[name], right[name])]
    assert not different, different


def logged(trainer, name="loss"):
    return [entry[name] for entry in trainer.state.log_history if name in entry]


class Interfere(TrainerCallback):
    """Calls `action(step, model)` after each step."""

    def __init__(self, action):
        self.action = action

    def on_step_end(self, args, state, control, model=None, **kwargs):
        self.action(state.global_step, model)
