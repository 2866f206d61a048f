"""Samples of a model in training, shared by its processes: the same ones for any number of them."""

from __future__ import annotations

import copy
from typing import Any, cast

from accelerate import Accelerator
from torch import Tensor, nn

from ..metrics import seeded_samples
from ..models.fsdp import is_sharded
from ..models.modeling_ladd import LaddForDiffusionLM
from ..pipelines import LaddPipeline
from ..schedulers import LaddScheduler


class TokensAlone(nn.Module):
    """A model that writes tokens without latents, as it does while its tokens are trained alone."""

    def __init__(self, model: LaddForDiffusionLM) -> None:
        super().__init__()
        self.model = model
        self.config = copy.copy(model.config)
        self.config.latent_type = "none"
        self.train(model.training)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Calls the model, whose latents the pipeline leaves out."""
        return self.model(*args, **kwargs)


def draw_samples(
    model: LaddForDiffusionLM | TokensAlone,
    scheduler: LaddScheduler,
    num_steps: int,
    num_samples: int,
    batch_size: int,
    seed: int,
    accelerator: Accelerator,
    **options: Any,
) -> tuple[Tensor, Tensor]:
    """Draws `num_samples` samples, each seeded by `seed` and its number. Every process has to call it.

    Args:
        model: not wrapped.
        scheduler: its schedule.
        num_steps: number of denoiser evaluations of a sample.
        num_samples, batch_size: of all processes together, and of one batch in one process.
        seed: of the run.
        accelerator: knows the processes.
        options: further arguments of the pipeline's call, such as `temperature`.

    Returns in every process all ids `(num_samples, S)`, padded, and their numbers of tokens `(num_samples,)`, on the
    CPU.
    """
    pipeline = LaddPipeline(cast(LaddForDiffusionLM, model), scheduler)
    pipeline.set_progress_bar_config(disable=True)
    processes, first, sharded = accelerator.num_processes, accelerator.process_index, is_sharded(model)
    if sharded and pipeline.scheduler.steps_depend_on_lengths:
        processes, first = 1, 0  # those that hold parts of the weights have to make the same calls
    each = -(-num_samples // processes)
    numbers = [(first + row * processes) % num_samples for row in range(each)]  # the last round is filled up
    seeds = [seed * num_samples + number for number in numbers]
    sequences, lengths = seeded_samples(pipeline, num_steps, seeds, batch_size, skip_idle_rows=not sharded, **options)
    if processes == 1:
        return sequences, lengths
    filler = model.config.pad_token_id or 0
    sequences = accelerator.pad_across_processes(sequences.to(accelerator.device), dim=1, pad_index=filler)
    return tuple(
        accelerator.gather(part.to(accelerator.device))
        .unflatten(0, (processes, each))
        .transpose(0, 1)
        .flatten(0, 1)[:num_samples]
        .cpu()
        for part in (sequences, lengths)
    )
