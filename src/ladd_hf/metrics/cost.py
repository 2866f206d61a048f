"""Cost of samples in floating-point operations, counted, not estimated."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from ..models.adapters import base_model
from ..pipelines import LaddPipeline
from .flops import ATTENTION_ON_A_CPU

# The parts of a model that are not its heads: the streams of the denoiser, and a latent denoiser of its own.
_STREAMS = ("model", "latent_denoiser")


@dataclass(frozen=True)
class SamplingCost:
    """Floating-point operations of a run, per sample; a multiplication and an addition are two.

    Attributes:
        nfe: evaluations of the denoiser, one for each step; a guided step is one of twice the rows, whose operations
            count in full.
        latent_flops: of the steps in which latents alone change, without the heads.
        token_flops: of the steps in which tokens change, without the heads.
        head_flops: of the heads of all steps: the projection to the vocabulary, and the latents' prediction.
        row_evaluations: rows that were evaluated, per sample: `nfe`, but for guided steps, which count twice, and for
            steps that write tokens and latents of which the latents are predicted without tokens.
    """

    nfe: int
    latent_flops: float
    token_flops: float
    head_flops: float
    row_evaluations: float

    @property
    def flops(self) -> float:
        """All of them."""
        return self.latent_flops + self.token_flops + self.head_flops


def sampling_cost(pipeline: LaddPipeline, num_steps: int, batch_size: int = 1, **options: Any) -> SamplingCost:
    """Counts the operations of matrix products, attention and convolutions in one run of a pipeline.

    Args:
        pipeline: generates the samples; with their default lengths, unless `options` say otherwise.
        num_steps: evaluations of the denoiser.
        batch_size: samples of the run; what is computed once for a batch is shared by them.
        options: further arguments of the pipeline's call, such as `guidance_scale` or `length`.

    Normalisations, softmaxes and random draws are not counted (torch's `FlopCounterMode`).
    """
    counter = FlopCounterMode(display=False, custom_mapping=ATTENTION_ON_A_CPU)
    phases = {"latents": 0.0, "tokens": 0.0, "heads": 0.0}
    before = (0, 0)

    def after_step(pipe: Any, index: int, timestep: int, tensors: dict[str, Any]) -> dict[str, Any]:
        nonlocal before
        now = counter.get_total_flops(), _flops_of_streams(counter, base_model(pipe.model))
        total, streams = (done - earlier for done, earlier in zip(now, before, strict=True))
        phases["tokens" if pipe.scheduler.moves_tokens(timestep) else "latents"] += streams
        phases["heads"] += total - streams
        before = now
        return {}

    with _without_gradients(pipeline.model), counter:
        run = pipeline(
            num_steps=num_steps, batch_size=batch_size, output_type="seq", callback_on_step_end=after_step, **options
        )
    per_sample = {phase: flops / batch_size for phase, flops in phases.items()}
    rows = run.row_evaluations / batch_size
    return SamplingCost(run.nfe, per_sample["latents"], per_sample["tokens"], per_sample["heads"], rows)


def _flops_of_streams(counter: FlopCounterMode, model: nn.Module) -> int:
    counts = counter.get_flop_counts()
    names = [f"{type(model).__name__}.{part}" for part in _STREAMS]
    return sum(sum(counts[name].values()) for name in names if name in counts)


@contextmanager
def _without_gradients(model: Any) -> Iterator[None]:
    """Context in which no parameter requires a gradient: the counter follows those, which fails on views."""
    learnt = [one for one in model.parameters() if one.requires_grad] if isinstance(model, nn.Module) else []
    for parameter in learnt:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in learnt:
            parameter.requires_grad_(True)
