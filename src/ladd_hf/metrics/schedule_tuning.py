"""Tuning of inference schedules: measured losses and costs of a model, and the scheduler that is optimal for them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from itertools import islice
from typing import Any, Literal

import torch
from torch import Tensor

from ..data.collator import LaddCollator
from ..diffusion.loss_draws import HeldOutTexts
from ..diffusion.loss_measuring import measure_losses
from ..diffusion.runs import LATENT_WIDTH
from ..diffusion.step_counts import maskable_tokens
from ..models.chunks import least_length
from ..models.eval_mode import evaluation_mode
from ..models.vocabulary import Vocabulary
from ..schedulers import LaddTunedScheduler
from ..utils.number_ranges import COUNT, POSITIVE, whole
from ..utils.wrong_objects import described
from .step_cost import latent_step_cost

_COSTS = ("evaluations", "flops")
_AT_LEAST_TWO = whole(2, "a whole number of at least 2")


def tune_schedule(
    model: Any,
    data: Tensor | Iterable[Mapping[str, Any]],
    budgets: Sequence[int] = (2, 4, 8, 16, 32),
    cost: Literal["evaluations", "flops"] = "evaluations",
    *,
    num_texts: int = 48,
    cells: int = 8,
    num_draws: int = 1,
    latent_width: float = LATENT_WIDTH,
    batch_size: int = 64,
    rows_at_once: int = 512,
    seed: int = 0,
    tell: Callable[[float], None] | None = None,
    **options: Any,
) -> LaddTunedScheduler:
    """Finds, for any number of steps, the path of the time square whose samples have the least bound.

    The model's losses are measured once, on held-out texts, over a grid of the two times. From them the bound of every
    run follows, and the least of each number of steps by dynamic programming. See `docs/schedules.md`.

    Args:
        model: a [`LaddForDiffusionLM`], or any denoiser with its `denoise`, `encode` and channels.
        data: held-out texts: `(N, S)` ids, or examples with `input_ids` (and perhaps `attention_mask`, `labels` and
            `precomputed_latents`), such as a data set's.
        budgets: numbers of steps to solve for now; any others are solved when they are asked for.
        cost: unit of the budgets. `evaluations`: the exact number of the denoiser's evaluations. `flops`: the
            operations of that many evaluations that write tokens, at most; steps of the latents alone are charged what
            they take, which is less with a separate latent denoiser, or one that `skips_masked_tokens`, whose runs then
            write latents before tokens, and as much for any other.
        num_texts: number of texts, the first of `data`.
        cells: gaps between measured times on each side of the square.
        num_draws: draws of noise per text and loss; see [`measure_losses`].
        latent_width: noise, as a share of their signal, with which continuous latents are known well enough: what a
            finer one costs is not counted, or latents would take the steps that tokens need.
        batch_size: texts at once; the schedule does not depend on it.
        rows_at_once: rows of an evaluation, of several points of the grid.
        seed: of the noise.
        tell: is called with the share of the losses that is measured, from time to time.
        options: `latent_solver`, `unmasking` and other options of [`LaddTunedScheduler`].

    Raises `ValueError` for texts that the model does not take, for fewer than two, and for budgets that have no run.
    """
    if cost not in _COSTS:
        raise ValueError(f"`cost` is {cost!r}; give 'evaluations' or 'flops'.")
    for name, value in (("num_draws", num_draws), ("batch_size", batch_size), ("rows_at_once", rows_at_once)):
        COUNT.check(name, value)
    for name, value in (("num_texts", num_texts), ("cells", cells)):
        _AT_LEAST_TWO.check(name, value)
    config = getattr(model, "config", None)
    POSITIVE.check("latent_width", latent_width)
    alone = getattr(config, "latents_alone", "never")
    # While all tokens are masked, latents alone are cheap; later on, they would cost as much as tokens.
    latents_first = alone == "always" or (alone == "masked" and cost == "flops")
    with evaluation_mode(model), torch.no_grad():
        batches = list(held_out_batches(model, data, num_texts, batch_size))
        table = measure_losses(model, batches, cells, num_draws, rows_at_once, seed, latents_first, latent_width, tell)
        latent_cost = latent_step_cost(model, batches[0]) if cost == "flops" else None
    of_model = {} if config is None else LaddTunedScheduler.options_of(config)
    tuned = LaddTunedScheduler(table, latent_cost, budgets, **{**of_model, **options})
    return tuned if config is None else tuned.for_model(config)


def held_out_batches(model: Any, data: Any, num_texts: int, batch_size: int) -> Iterator[HeldOutTexts]:
    """Yields the first texts as batches on the model's device.

    Args:
        model: a denoiser, with a `config` and a `device` if it is a model.
        data: `(N, S)` ids, or examples with `input_ids` (and perhaps `attention_mask`, `labels` and
            `precomputed_latents`).
        num_texts: number of texts, the first of `data`.
        batch_size: texts at once.

    Raises `ValueError` for anything else, and for texts that the model does not take.
    """
    config = getattr(model, "config", None)
    if isinstance(data, str) or not isinstance(data, Iterable):
        raise ValueError(f"`data` is {described(data)}; give `(N, S)` ids, or examples with `input_ids`.")
    examples = [{"input_ids": row} if isinstance(row, Tensor) else dict(row) for row in islice(data, num_texts)]
    collate = LaddCollator()
    if config is not None:
        vocabulary = Vocabulary.of(config)
        collate = LaddCollator(config.pad_token_id, least_length(config), config.max_position_embeddings, vocabulary)
    device = getattr(model, "device", "cpu")
    for start in range(0, len(examples), batch_size):
        batch = {name: column.to(device) for name, column in collate(examples[start : start + batch_size]).items()}
        ids, mask = batch["input_ids"], batch.get("attention_mask")
        labels = batch.get("labels", ids)
        precomputed, encode = batch.get("precomputed_latents"), None
        if precomputed is not None:
            encode = partial(model.encode, precomputed_latents=precomputed)
        yield HeldOutTexts(torch.where(labels < 0, ids, labels), maskable_tokens(labels, mask), mask, encode)
