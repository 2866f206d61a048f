"""Judges of variety: entropy of a sample, n-grams that differ between samples, and windows known from training."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

from ..metrics.bootstrap import Estimate, bootstrap_ratio
from ..metrics.diversity import distinct, self_bleu
from ..metrics.memorization import TrainingWindows, memorized_share
from ..metrics.unigram_entropy import unigram_entropies
from ..utils.number_ranges import COUNT, COUNT_OR_ZERO, SEED
from ..utils.options import Options, option
from .base import Measure
from .decoded_texts import units_of
from .judges import JudgedData, check_texts, register_judge

_UNITS = ("character", "word", "token")
_ORDERS = (1, 2, 3, 4)


@register_judge("entropy")
@dataclass(frozen=True)
class EntropyJudge(Options):
    """Mean entropy of a sample's own units. Paper, section 9.

    Attributes:
        unit: `character`, `word` or `token`.
    """

    setting: ClassVar[str] = "judges.entropy"
    unit: str = option("character", _UNITS)

    def measures(self, data: JudgedData) -> tuple[Measure, ...]:
        """Returns `entropy`, in nats."""
        about = f"the mean entropy of a sample's {_unit(self.unit, data)}s"
        return (Measure("entropy", "unigram entropy in nats", about, self._score, digits=3),)

    def _score(self, samples: Any) -> Estimate:
        return bootstrap_ratio(unigram_entropies([list(row) for row in units_of(samples, self.unit)]))


@register_judge("diversity")
@dataclass(frozen=True)
class DiversityJudge(Options):
    """Distinct-n for n from 1 to 4, and self-BLEU; see [`Diversity`].

    Attributes:
        unit: `character`, `word` or `token`.
        self_bleu_samples: samples that self-BLEU compares with each other; 0 leaves it out.
        seed: of the draw of these.
    """

    setting: ClassVar[str] = "judges.diversity"
    unit: str = option("character", _UNITS)
    self_bleu_samples: int = option(100, COUNT_OR_ZERO)
    seed: int = option(0, SEED)

    def measures(self, data: JudgedData) -> tuple[Measure, ...]:
        """Returns `distinct_1` to `distinct_4`, and `self_bleu`."""
        unit = _unit(self.unit, data)
        measures = [
            Measure(
                f"distinct_{order}",
                f"distinct {order}-grams",
                f"the share of different {order}-grams of {unit}s among those of all samples",
                _Distinct(self.unit, order),
                digits=3,
                held_out="as_many",
            )
            for order in _ORDERS
        ]
        if self.self_bleu_samples:
            about = (
                f"BLEU-4 in {unit}s of each of {self.self_bleu_samples} samples, drawn by seed {self.seed}, against "
                "the others of these"
            )
            measures.append(Measure("self_bleu", "self-BLEU", about, self._self_bleu, digits=3, held_out="as_many"))
        return tuple(measures)

    def _self_bleu(self, samples: Any) -> Estimate:
        return self_bleu(units_of(samples, self.unit), self.self_bleu_samples, self.seed)


@dataclass(frozen=True)
class _Distinct:
    unit: str
    order: int

    def __call__(self, samples: Any) -> Estimate:
        return distinct(units_of(samples, self.unit), self.order)


@register_judge("memorization")
@dataclass(frozen=True)
class MemorizationJudge(Options):
    """Share of samples' windows that occur in the training texts; see [`Memorization`].

    Attributes:
        unit: `character` or `token`.
        window: number of them in a window; by default 24 characters, or 8 tokens.
    """

    setting: ClassVar[str] = "judges.memorization"
    unit: str = option("character", ("character", "token"))
    window: int | None = option(None, COUNT)

    def measures(self, data: JudgedData) -> tuple[Measure, ...]:
        """Returns `memorized`; the same of held-out texts is what is common to all texts of the kind."""
        check_texts("memorization", data)
        window = self.window or (24 if self.unit == "character" else 8)
        read = f"the training texts, of which the first {data.judge_characters:,} characters are searched"
        about = f"the share of windows of {window} {self.unit}s that occur in {read}"
        score = _Memorized(data, self.unit, window)
        return (Measure("memorized", f"share of memorised {window}-{self.unit} windows", about, score),)


class _Memorized:
    """Share of memorised windows; the training texts are read on first use."""

    def __init__(self, data: JudgedData, unit: str, window: int) -> None:
        self.data, self.unit, self.window = data, unit, window

    def __call__(self, samples: Any) -> Estimate:
        return memorized_share(self._training, units_of(samples, self.unit))

    @cached_property
    def _training(self) -> TrainingWindows:
        texts = self.data.training_texts() if self.unit == "character" else self.data.training_ids()
        return TrainingWindows(texts, self.window)


def _unit(unit: str, data: JudgedData) -> str:
    """Returns the unit as it is read: of samples that are ids alone there are only tokens."""
    return "token" if data.tokenizer is None else unit
