"""Bounds of what a pipeline's runs write, on held-out texts that the processes share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor

from ..data.collator import LaddCollator
from ..diffusion.bounds import Bound, TotalBound
from ..diffusion.rng import RowGenerator
from ..metrics import Estimate
from ..pipelines import LaddPipeline
from .settings import EvaluationSettings


def run_bounds(
    pipeline: LaddPipeline,
    num_steps: int,
    texts: Sequence[Mapping[str, Any]],
    settings: EvaluationSettings,
    accelerator: Accelerator,
) -> dict[str, float]:
    """Returns the plain bound of a run in nats per token, and the marginalised one, with standard errors over texts.

    The bound is of runs in the model's own law: a scheduler that reveals tokens in another order, or remasks, has none.
    Continuous latents have the marginalised one alone, which is of the solver `ddpm`. Every process has to call it, and
    all get the same.
    """
    model: Any = pipeline.model
    if not hasattr(model, "nelbo") or not pipeline.scheduler.is_ancestral:
        return {}
    run = pipeline.scheduler.run(num_steps)
    found: dict[str, float] = {}
    asked: dict[str, dict[str, Any]] = {"bound": {"num_samples": settings.bound_samples}}
    if settings.num_proposals:
        width = {} if settings.proposal_width is None else {"proposal_width": settings.proposal_width}
        asked["marginal_bound"] = {"num_proposals": settings.num_proposals, **width}
    for name, options in asked.items():
        if name == "bound" and model.config.latent_type == "continuous":
            continue  # without a smallest noise it is none
        own = texts[accelerator.process_index :: accelerator.num_processes]
        nats, tokens = _of_texts(model, own, run, settings, options)
        total = TotalBound(*(_gathered(one, len(texts), accelerator) for one in (nats, tokens)))
        error = total.nats_per_token_stderr if len(texts) > 1 else None
        found |= Estimate(total.nats_per_token, error).named(name)
    return found


def _of_texts(
    model: Any,
    texts: Sequence[Mapping[str, Any]],
    run: Sequence[tuple[float, float]],
    settings: EvaluationSettings,
    options: dict[str, Any],
) -> tuple[Tensor, Tensor]:
    """Returns nats and tokens of each text, `(N,)` each; their noise is seeded by their own tokens."""
    collate, device, parts = LaddCollator(model.config.pad_token_id), getattr(model, "device", "cpu"), []
    for start in range(0, len(texts), settings.batch_size):
        batch = collate([dict(row) for row in texts[start : start + settings.batch_size]])
        batch = {name: column.to(device) for name, column in batch.items()}
        ids, mask = batch["input_ids"], batch.get("attention_mask")
        random = RowGenerator.from_content(settings.seed, ids, mask)
        bound: Bound = model.nelbo(ids, mask, generator=random, run=run, labels=batch.get("labels"), **options)
        parts.append((bound.total_nats.cpu(), bound.num_tokens.cpu()))
    nothing = torch.zeros(0, dtype=torch.float64)
    nats, tokens = zip(*parts, strict=True) if parts else ((nothing,), (nothing.long(),))
    return torch.cat(nats), torch.cat(tokens)


def _gathered(own: Tensor, number: int, accelerator: Accelerator) -> Tensor:
    """Returns the numbers of all texts, in order: process p has those of the texts p, p + P, and so on."""
    processes = accelerator.num_processes
    if processes == 1:
        return own
    each = -(-number // processes)
    padded = torch.nn.functional.pad(own, (0, each - len(own))).to(accelerator.device)
    return accelerator.gather(padded).view(processes, each).T.flatten()[:number].cpu()
