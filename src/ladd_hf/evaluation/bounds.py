"""Bounds of what a pipeline's runs write, on held-out texts that the processes share."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, TypeAlias, cast

import torch
from accelerate import Accelerator
from torch import Tensor

from ..data.collator import LaddCollator
from ..diffusion.bounds import Bound, TotalBound
from ..diffusion.paths import PathSpec, path_name
from ..diffusion.process import NoiseProcess
from ..diffusion.rng import RowGenerator
from ..metrics import Estimate
from ..pipelines import LaddPipeline
from ..schedulers import LaddScheduler
from .settings import EvaluationSettings


def run_bounds(
    pipeline: LaddPipeline,
    num_steps: int,
    texts: Sequence[Mapping[str, Any]],
    settings: EvaluationSettings,
    accelerator: Accelerator,
) -> dict[str, float]:
    """Returns the plain bound of a run in nats per token, and the marginalised one, with standard errors over texts.

    The bound is of runs in the model's own law: a scheduler that reveals tokens in another order, or remasks, has none,
    and one whose tokens wait for their latents has the marginalised one alone.
    Where `first_hitting` reveals one token at a time, all orders are as likely, and the plain bound is the mean over
    them, which is that of the tokens in continuous time. Continuous latents have the marginalised one alone, which is
    of the solver `ddpm`. Latents that see their own last estimate have none. Every process has to call it, and all get
    the same.
    """
    model, scheduler = cast(Any, pipeline.model), pipeline.scheduler
    if not hasattr(model, "nelbo") or getattr(model.config, "latent_self_conditioning", False):
        return {}
    run = scheduler.run(num_steps)
    bounds: dict[str, BoundOf] = {}
    if scheduler.is_ancestral:
        bounds["bound"] = partial(_plain, run=run, num_samples=settings.bound_samples)
    if scheduler.has_marginal_bound and settings.num_proposals:
        bounds["marginal_bound"] = partial(
            _plain, num_proposals=settings.num_proposals, **walk_options(scheduler, num_steps, settings.proposal_width)
        )
    if scheduler.is_first_hitting and reveals_one_at_a_time(run, max(map(_length, texts))):
        of_latents = None if model.config.latent_type == "none" else run
        bounds["bound"] = partial(_over_orders, run=of_latents, num_samples=settings.bound_samples)
    if not NoiseProcess.of(model.config).bounds_texts("joint"):
        bounds.pop("bound", None)  # without a smallest noise it is none
    found: dict[str, float] = {}
    for name, bound_of in bounds.items():
        total = TotalBound(*_shared(model, texts, settings, bound_of, accelerator))
        error = total.nats_per_token_stderr if len(texts) > 1 else None
        found |= Estimate(total.nats_per_token, error).named(name)
    return found


def walk_options(scheduler: LaddScheduler, num_steps: int, proposal_width: float | None) -> dict[str, Any]:
    """Returns the options of the model's `nelbo`, besides the number of proposals, for the marginalised bound of a
    scheduler's runs; only those that differ from the defaults, which a denoiser of one's own may not have."""
    options: dict[str, Any] = {"run": scheduler.run(num_steps)}
    if proposal_width is not None:
        options["proposal_width"] = proposal_width
    if scheduler.waits:
        options["token_waiting"] = scheduler.config.token_waiting
    return options


def bound_paths(pipeline: LaddPipeline, settings: EvaluationSettings) -> dict[str, PathSpec]:
    """Returns the paths of bounds in continuous time by name; without latents all are one, of the tokens."""
    if pipeline.model.config.latent_type == "none":
        return {"tokens": "tokens"} if settings.paths else {}
    return {path_name(path): path for path in settings.paths}


def path_bounds(
    pipeline: LaddPipeline,
    texts: Sequence[Mapping[str, Any]],
    paths: Mapping[str, PathSpec],
    settings: EvaluationSettings,
    accelerator: Accelerator,
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yields the name of each path, and the bound in continuous time along it in nats per token, with its parts.

    The perplexity is `None` where the sum is no bound: of continuous latents without probabilities, since it depends on
    the smallest noise, and of tokens given their codes. Every process has to call it.
    """
    model: Any = pipeline.model
    if not hasattr(model, "nelbo") or not texts:
        return
    process = NoiseProcess.of(model.config)
    for name, path in paths.items():
        bound_of = partial(_parts, path=path, num_samples=settings.bound_samples)
        of_tokens, of_latents, tokens = _shared(model, texts, settings, bound_of, accelerator)
        total = TotalBound(of_tokens + of_latents, tokens)
        error = total.nats_per_token_stderr if len(texts) > 1 else None
        yield (
            name,
            {
                **Estimate(total.nats_per_token, error).named("nats_per_token"),
                "token_nats": TotalBound(of_tokens, tokens).nats_per_token,
                "latent_nats": TotalBound(of_latents, tokens).nats_per_token,
                "perplexity": total.perplexity if process.bounds_texts(path) else None,
                "texts": len(texts),
            },
        )


def reveals_one_at_a_time(run: Sequence[tuple[float, float]], num_tokens: int) -> bool:
    """True if a `first_hitting` run over these points (t_x, t_y) writes a text of some tokens one by one, after all of
    its latents."""
    steps = [start for start, end in itertools.pairwise(run) if end[0] < start[0]]
    return len(steps) >= num_tokens and all(latent_time == 0 for _, latent_time in steps)


# Nats of each text of a batch, or several parts of them, and its tokens, `(B,)` each, by a function that calls the
# model's `nelbo` on the batch.
BoundOf: TypeAlias = Callable[[Callable[..., Any]], tuple[Tensor, ...]]


def _plain(nelbo: Callable[..., Any], **options: Any) -> tuple[Tensor, Tensor]:
    bound: Bound = nelbo(**options)
    return bound.total_nats, bound.num_tokens


def _parts(nelbo: Callable[..., Any], **options: Any) -> tuple[Tensor, ...]:
    bound = nelbo(**options)
    return bound.token_nats, bound.latent_nats, bound.num_tokens


def _over_orders(
    nelbo: Callable[..., Any], run: Sequence[tuple[float, float]] | None, num_samples: int
) -> tuple[Tensor, Tensor]:
    """Of tokens that are written one at a time, in any order, the bound is the integral over their time; of the latents
    before them, if there are any, the sum over the steps of `run`."""
    of_tokens = nelbo(path="tokens", num_samples=num_samples)
    if run is None:
        return of_tokens.token_nats, of_tokens.num_tokens
    return of_tokens.token_nats + nelbo(run=run, num_samples=num_samples).latent_nats, of_tokens.num_tokens


def _shared(
    model: Any,
    texts: Sequence[Mapping[str, Any]],
    settings: EvaluationSettings,
    bound_of: BoundOf,
    accelerator: Accelerator,
) -> list[Tensor]:
    """Returns what `_of_texts` does of all texts, each of which one process computes."""
    own = texts[accelerator.process_index :: accelerator.num_processes]
    found = _of_texts(model, own or texts[:1], settings, bound_of)  # of more processes than texts some have none
    return [_gathered(one[: len(own)], len(texts), accelerator) for one in found]


def _of_texts(
    model: Any, texts: Sequence[Mapping[str, Any]], settings: EvaluationSettings, bound_of: BoundOf
) -> tuple[Tensor, ...]:
    """Returns nats, or their parts, and tokens of each text, `(N,)` each; their noise is seeded by their own tokens."""
    collate, device, parts = LaddCollator(model.config.pad_token_id), getattr(model, "device", "cpu"), []
    for start in range(0, len(texts), settings.batch_size):
        batch = collate([dict(row) for row in texts[start : start + settings.batch_size]])
        batch = {name: column.to(device) for name, column in batch.items()}
        parts.append([one.cpu() for one in bound_of(partial(_nelbo, model, batch, settings.seed))])
    return tuple(torch.cat(of_batches) for of_batches in zip(*parts, strict=True))


def _nelbo(model: Any, batch: Mapping[str, Tensor], seed: int, **options: Any) -> Any:
    ids, mask = batch["input_ids"], batch.get("attention_mask")
    random = RowGenerator.from_content(seed, ids, mask)
    return model.nelbo(ids, mask, generator=random, labels=batch.get("labels"), **options)


def _length(text: Mapping[str, Any]) -> int:
    """Returns the number of a text's tokens, without padding."""
    mask = text.get("attention_mask")
    return len(text["input_ids"]) if mask is None else int(sum(mask))


def _gathered(own: Tensor, number: int, accelerator: Accelerator) -> Tensor:
    """Returns the numbers of all texts, in order: process p has those of the texts p, p + P, and so on."""
    processes = accelerator.num_processes
    if processes == 1:
        return own
    each = -(-number // processes)
    padded = torch.nn.functional.pad(own, (0, each - len(own))).to(accelerator.device)
    return accelerator.gather(padded).view(processes, each).T.flatten()[:number].cpu()
