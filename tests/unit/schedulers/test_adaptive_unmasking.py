"""Unmasking by a threshold and within an entropy bound: which tokens a step reveals, and what a run keeps."""

from __future__ import annotations

import pytest
import torch
from helpers.scheduler_steps import run

from ladd_hf import LaddJointScheduler, LaddSequentialScheduler
from ladd_hf.schedulers.unmasking import unmasking

MASK = 10
THRESHOLD = {"name": "threshold", "threshold": 0.5}
BOUND = {"name": "entropy_bound", "gamma": 2.0}


def sharp_logits(rows, seed=0):
    """Logits `(rows, 12, 11)` of places from nearly sure to nearly even."""
    generator = torch.Generator().manual_seed(seed)
    sharpness = torch.rand(rows, 12, 1, generator=generator) * 4
    return torch.randn(rows, 12, 11, generator=generator) * sharpness


def revealed(spec, logits, tokens, config, step=0, num_steps=6):
    scheduler = LaddJointScheduler(unmasking=spec).for_model(config)
    scheduler.set_timesteps(num_steps)
    return scheduler.step(logits, step, tokens, generator=torch.Generator().manual_seed(0)).transfer_index


def probabilities(logits):
    """Of the tokens that may be written: 0 is padding, 10 the mask."""
    return logits[..., 1:MASK].double().softmax(-1)


@pytest.mark.parametrize("threshold", [0.0, 0.3, 0.5, 0.8, 0.99, 1.0])
def test_a_step_reveals_those_above_the_threshold_or_else_the_surest(threshold, tiny_config):
    logits, tokens = sharp_logits(50), torch.full((50, 12), MASK)
    tokens[:, :3] = 4  # visible, however sure the denoiser is there
    found = revealed({"name": "threshold", "threshold": threshold}, logits, tokens, tiny_config("none"))
    sure = probabilities(logits).amax(-1).masked_fill(tokens != MASK, -1)
    for row, of_row in zip(found, sure, strict=True):
        above = of_row > threshold
        assert torch.equal(row, above) if above.any() else row.nonzero().tolist() == [[int(of_row.argmax())]]


@pytest.mark.parametrize("gamma", [0.0, 0.1, 1.0, 2.5, 50.0])
def test_a_step_reveals_the_longest_run_of_surest_tokens_within_the_bound(gamma, tiny_config):
    logits, tokens = sharp_logits(50), torch.full((50, 12), MASK)
    tokens[:, :3] = 4
    found = revealed({"name": "entropy_bound", "gamma": gamma}, logits, tokens, tiny_config("none"))
    entropies = torch.special.entr(probabilities(logits)).sum(-1)
    for row, of_row in zip(found, entropies, strict=True):
        inside, outside = of_row[row], of_row[~row & (torch.arange(12) >= 3)]
        assert len(inside) >= 1 and inside.sum() - inside.max() <= gamma + 1e-9
        assert not len(outside) or (outside.min() >= inside.max() - 1e-5 and inside.sum() > gamma - 1e-9)
        assert not row[:3].any()


@pytest.mark.parametrize("spec", [THRESHOLD, {"name": "entropy_bound", "gamma": 0.0}], ids=str)
def test_of_equally_sure_tokens_the_first_is_revealed(spec, tiny_config):
    found = revealed(spec, torch.zeros(1, 12, 11), torch.full((1, 12), MASK), tiny_config("none"))
    assert found.nonzero().tolist() == [[0, 0]]


@pytest.mark.parametrize("spec", [THRESHOLD, BOUND], ids=str)
def test_a_row_is_the_same_alone(spec, tiny_config):
    logits, tokens = sharp_logits(20), torch.full((20, 12), MASK)
    tokens[3] = 1  # a row that has nothing left to write
    together = revealed(spec, logits, tokens, tiny_config("none"))
    alone = [revealed(spec, logits[row : row + 1], tokens[row : row + 1], tiny_config("none")) for row in range(20)]
    assert torch.equal(together, torch.cat(alone)) and not together[3].any() and together.any(1).sum() == 19


@pytest.mark.parametrize("kind", ["none", "discrete", "continuous"])
@pytest.mark.parametrize("spec", [{"name": "threshold", "threshold": 1.0}, {"name": "entropy_bound", "gamma": 0.0}])
def test_the_last_step_reveals_all_and_there_are_as_many_steps_as_asked_for(spec, kind, scheduler_class, tiny_config):
    scheduler = scheduler_class(unmasking=spec).for_model(tiny_config(kind))
    for num_steps in (2, 5, 40):
        states = list(run(scheduler, kind, num_steps))
        assert len(states) == scheduler.num_inference_steps == num_steps
        assert (states[-1][2][0] != MASK).all()
        left = [int((after[0] == MASK).sum()) for _, _, after in states]
        moving = [step for step, _, _ in states if scheduler.moves_tokens(step)]
        assert left[moving[0]] == (3 * 11 if len(moving) > 1 else 0), "one token in each of three rows"
    scheduler.set_timesteps(40, num_tokens=3)
    assert scheduler.num_inference_steps == 40 and not scheduler.steps_depend_on_lengths


@pytest.mark.parametrize("spec", [THRESHOLD, BOUND], ids=str)
def test_waiting_tokens_are_neither_revealed_nor_counted(spec, tiny_config):
    config = tiny_config("discrete", latent_unpooling="chunk")
    scheduler = LaddJointScheduler(unmasking=spec, token_waiting="until_known").for_model(config)
    scheduler.set_timesteps(4)
    tokens, latents = torch.full((1, 12), MASK), torch.tensor([[9, 1, 9, 2]])  # the codes of 3 tokens each; 9 is masked
    plan = scheduler.plan_step(0, tokens, latents, torch.Generator())
    logits = sharp_logits(1)
    found = scheduler.step(logits[plan.unmask], 0, tokens, None, plan=plan, generator=torch.Generator()).transfer_index
    known = torch.tensor([[False] * 3 + [True] * 3] * 2).view(1, 12)
    assert found.any() and not found[~known].any()
    written = tokens.masked_fill(~known, 1)
    assert torch.equal(found, revealed(spec, logits, written, tiny_config("none"), num_steps=4))


@pytest.mark.parametrize("spec", [THRESHOLD, BOUND], ids=str)
def test_they_are_saved_and_refused_where_their_numbers_of_tokens_do_not_fit(spec, tiny_config, tmp_path):
    LaddSequentialScheduler(unmasking=spec).save_pretrained(tmp_path)
    assert LaddSequentialScheduler.from_pretrained(tmp_path).config.unmasking == spec
    with pytest.raises(ValueError, match=r"conditioned on t_x .* does not draw: use 'ancestral'"):
        LaddJointScheduler(unmasking=spec).for_model(tiny_config("none", token_time_conditioning=True))
    assert not unmasking(spec).follows_times, "so that no schedule is tuned for it"
    assert not LaddJointScheduler(unmasking=spec).has_marginal_bound


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ("threshold", "'threshold' needs the option `threshold`"),
        ("entropy_bound", "'entropy_bound' needs the option `gamma`"),
        ({"name": "threshold", "threshold": 1.1}, r"`unmasking.threshold` is 1\.1; give a share from 0 to 1"),
        ({"name": "threshold", "threshold": "0.5"}, "`unmasking.threshold` is '0.5'"),
        ({"name": "entropy_bound", "gamma": -1}, "`unmasking.gamma` is -1; give a number of 0 or more"),
        ({"name": "entropy_bound", "threshold": 1}, "has no option 'threshold'; it takes `gamma`"),
        ({"name": "threshold", "threshold": float("nan")}, "`unmasking.threshold` is nan"),
    ],
    ids=str,
)
def test_options_that_are_none_are_refused(spec, said):
    with pytest.raises(ValueError, match=said):
        LaddJointScheduler(unmasking=spec)
