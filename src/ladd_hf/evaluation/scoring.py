"""Log-likelihoods of texts, whole or after a context, as benchmarks ask for them: by the bound, seeded by content."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..diffusion.bounds import Bound
from ..diffusion.process import NoiseProcess
from ..diffusion.rng import RowGenerator
from ..diffusion.step_counts import IGNORED_LABEL
from ..models.text_frame import TextFrame
from ..pipelines import LaddPipeline
from ..utils.number_ranges import COUNT, COUNT_OR_ZERO, POSITIVE, SEED, check_ranges
from ..utils.padding import padded_texts
from .bounds import walk_options
from .schedules import smallest_budget

RANGES = {
    **dict.fromkeys(("num_samples", "num_steps", "batch_size"), COUNT),
    "num_proposals": COUNT_OR_ZERO,
    "proposal_width": POSITIVE,
    "seed": SEED,
}


@dataclass(frozen=True)
class TextScorer:
    """Scores ids under a pipeline's model; a score depends on its own ids and the seed, not on the batch or the order.

    Attributes:
        pipeline: with a model that has `nelbo`.
        num_samples: points of the path at which the plain bound of a text is estimated.
        num_proposals: proposals of the marginalised bound, which is taken instead if it is above 0.
        num_steps: evaluations of the run that the marginalised bound is of.
        batch_size: texts at once.
        seed: of the noise.
        proposal_width: spread of the proposals; see `marginal_nelbo`.

    Raises `ValueError` for numbers out of range, for a width without proposals, for a model without `nelbo`, and for
    continuous latents without proposals, whose plain bound is none.
    """

    pipeline: LaddPipeline
    num_samples: int = 32
    num_proposals: int = 0
    num_steps: int = 32
    batch_size: int = 16
    seed: int = 0
    proposal_width: float | None = None

    def __post_init__(self) -> None:
        check_ranges(self, RANGES, optional=("proposal_width",))
        if self.proposal_width is not None and not self.num_proposals:
            raise ValueError(
                f"`proposal_width` is {self.proposal_width:g}, the spread of proposals, and there are none: give "
                "`num_proposals` as well, such as 16."
            )
        if not hasattr(self.pipeline.model, "nelbo"):
            raise ValueError("The model has no `nelbo`, so there are no likelihoods: give one that has.")
        if not self.num_proposals and not NoiseProcess.of(self.pipeline.model.config).bounds_texts("joint"):
            raise ValueError(
                "The plain bound of continuous latents depends on their smallest noise: give `num_proposals`, such as "
                "16, for the marginalised one."
            )

    @property
    def longest(self) -> int:
        """Number of tokens of the longest text."""
        length: int = self.pipeline.model.config.max_position_embeddings
        return length

    def log_likelihoods(self, texts: Sequence[tuple[list[int], list[int]]]) -> list[float]:
        """Returns minus the bound of each continuation in nats, given its context: pairs of their ids.

        Contexts are cut at their beginnings to what the model takes. Raises `ValueError` for an empty continuation, and
        for one that is too long.
        """
        fitted = [self._fitted(*text) for text in texts]
        found: list[float] = []
        for start in range(0, len(fitted), self.batch_size):
            found += self._of_batch(fitted[start : start + self.batch_size])
        return found

    def rolling_log_likelihood(self, ids: list[int]) -> float:
        """Returns minus the bound of a text of any length in nats: of one block of the model's length after the other,
        each by itself; the last one has as many of the tokens before it as context as there is room for."""
        room = self.longest - len(TextFrame.of(self.pipeline.model.config).start)
        ends = [*range(room, len(ids), room), len(ids)] if ids else []
        blocks = []
        for first, end in zip([0, *ends], ends, strict=False):
            context = ids[max(0, end - room) : first] if end == len(ids) else []
            blocks.append((context, ids[first:end]))
        return sum(self.log_likelihoods(blocks))

    def is_greedy(self, texts: Sequence[tuple[list[int], list[int]]]) -> list[bool]:
        """Returns whether the pipeline writes each continuation after its context at temperature 0, in as few
        evaluations as its schedule allows: one without latents."""
        fitted = [self._fitted(*text) for text in texts]
        num_steps = smallest_budget(self.pipeline, self.pipeline.scheduler)
        lengths = [len(continuation) for _, continuation in fitted]
        written = self.written([context for context, _ in fitted], lengths, num_steps, temperature=0.0)
        return [new == continuation for new, (_, continuation) in zip(written, fitted, strict=True)]

    def written(
        self, contexts: Sequence[list[int]], lengths: Sequence[int], num_steps: int, **options: Any
    ) -> list[list[int]]:
        """Returns the ids that the pipeline writes after each context, as many as `lengths` unless a text ends before.

        `options` are those of the pipeline's call.
        """
        found: list[list[int]] = []
        for start in range(0, len(contexts), self.batch_size):
            prompts = [list(one) for one in contexts[start : start + self.batch_size]]
            whole = [len(ids) + new for ids, new in zip(prompts, lengths[start : start + self.batch_size], strict=True)]
            tokens, mask = self._batch([[*ids, 0] for ids in prompts])  # a row of no tokens has no key of its own
            drawn = self.pipeline(
                prompts if any(prompts) else None,
                num_steps=num_steps,
                batch_size=len(prompts),
                length=whole,
                generator=RowGenerator.from_content(self.seed, tokens, mask),
                output_type="seq",
                **options,
            )
            ends = zip(drawn.sequences.tolist(), drawn.lengths.tolist(), prompts, strict=True)
            found += [row[len(ids) : end] for row, end, ids in ends]
        return found

    def _fitted(self, context: list[int], continuation: list[int]) -> tuple[list[int], list[int]]:
        """Returns the two with the frame that begins a text, and as much of the context as there is room for."""
        frame = TextFrame.of(self.pipeline.model.config)
        room = self.longest - len(continuation) - len(frame.start)
        if not continuation or room < 0:
            raise ValueError(
                f"A text to score has {len(continuation)} tokens; this model scores 1 to "
                f"{self.longest - len(frame.start)}."
            )
        kept = context[max(0, len(context) - room) :]
        return frame.begun([*kept, *continuation])[: -len(continuation)], continuation

    def _of_batch(self, texts: Sequence[tuple[list[int], list[int]]]) -> list[float]:
        model: Any = self.pipeline.model
        ids, mask = self._batch([[*context, *continuation] for context, continuation in texts])
        labels = ids.clone()
        for row, (context, _) in zip(labels, texts, strict=True):
            row[: len(context)] = IGNORED_LABEL
        random = RowGenerator.from_content(self.seed, ids, mask)
        scheduler = self.pipeline.scheduler
        options: dict[str, Any] = {"num_samples": self.num_samples, "path": scheduler.path}
        if self.num_proposals:
            options = walk_options(scheduler, self.num_steps, self.proposal_width)
            options["num_proposals"] = self.num_proposals
        bound: Bound = model.nelbo(ids, mask, generator=random, labels=labels, **options)
        return [-nats for nats in bound.total_nats.tolist()]

    def _batch(self, rows: list[list[int]]) -> tuple[Tensor, Tensor | None]:
        """Returns ids and attention mask, `(B, S)` each, the mask `None` without padding."""
        model: Any = self.pipeline.model
        ids, mask = padded_texts(rows, getattr(model.config, "pad_token_id", None) or 0)
        device = torch.device(getattr(model, "device", "cpu"))
        return ids.to(device), None if mask is None else mask.to(device)
