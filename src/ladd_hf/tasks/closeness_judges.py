"""Judges of the law of all samples together, against held-out ones: MAUVE, and distances of sequences of ids."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from ..metrics.bootstrap import Estimate
from ..metrics.causal_lm import CausalJudge
from ..metrics.distribution_distance import sliced_wasserstein, token_kl
from ..metrics.mauve import MauveSettings, mauve_of_features, text_features
from ..utils.number_ranges import COUNT, NOT_NEGATIVE, POSITIVE, SEED
from ..utils.options import Options, option
from .base import Measure
from .decoded_texts import ids_of
from .judges import JudgedData, register_judge
from .likelihood_judges import CausalJudgeOptions


@register_judge("mauve")
@dataclass(frozen=True)
class MauveJudge(CausalJudgeOptions):
    """MAUVE against one half of the held-out texts; of the data itself, of the other half. See [`MauveSettings`]."""

    setting: ClassVar[str] = "judges.mauve"
    clusters: int | None = option(None, COUNT)
    scaling_factor: float = option(5.0, POSITIVE)
    seeds: int = option(5, COUNT)
    first_seed: int = option(25, SEED)
    max_text_length: int = option(1024, COUNT)

    def measures(self, data: JudgedData) -> tuple[Measure, ...]:
        """Returns `mauve`."""
        self.checked("mauve", data)
        clusters = "a tenth of the texts as clusters" if self.clusters is None else f"{self.clusters} clusters"
        about = (
            f"MAUVE in features of {self.reader}, against held-out texts ({clusters}, scaling factor "
            f"{self.scaling_factor:g}, at most {self.max_text_length} tokens; mean of "
            f"{self.seeds} k-means seeds from {self.first_seed})"
        )
        score = _MauveScore(self, data)
        return (Measure("mauve", "MAUVE", about, score, "higher", digits=3, held_out="other_half"),)


class _MauveScore:
    """MAUVE of texts; the model is loaded, and the references are read, on first use."""

    def __init__(self, options: MauveJudge, data: JudgedData) -> None:
        names = ("clusters", "scaling_factor", "seeds", "first_seed", "max_text_length")
        self.settings = MauveSettings(**{name: getattr(options, name) for name in names})
        self.options, self.data = options, data

    def __call__(self, texts: list[str]) -> Estimate:
        return mauve_of_features(self._features(texts), self._references, self.settings)

    def _features(self, texts: list[str]) -> NDArray[Any]:
        return text_features(self._judge, texts, self.settings)

    @cached_property
    def _references(self) -> NDArray[Any]:
        return self._features(self.data.held_out_halves()[0])

    @cached_property
    def _judge(self) -> CausalJudge:
        return self.options.judge()


@register_judge("distribution_distance")
@dataclass(frozen=True)
class DistributionDistanceJudge(Options):
    """Sliced Wasserstein distance and KL of token frequencies, against one half of the held-out samples; of the data
    itself, between the halves. See [`sliced_wasserstein`] and [`token_kl`]."""

    setting: ClassVar[str] = "judges.distribution_distance"
    projections: int = option(128, COUNT)
    seed: int = option(0, SEED)
    pseudocount: float = option(0.5, NOT_NEGATIVE)

    def measures(self, data: JudgedData) -> tuple[Measure, ...]:
        """Returns `sliced_wasserstein` and `token_kl`."""
        vocab_size = data.vocabulary["vocab_size"]
        sliced = _Distance(
            data,
            sliced_wasserstein,
            {"projections": self.projections, "seed": self.seed, "vocab_size": vocab_size},
        )
        divergence = _Distance(data, token_kl, {"pseudocount": self.pseudocount, "seed": self.seed})
        return (
            Measure(
                "sliced_wasserstein",
                "sliced 2-Wasserstein distance",
                f"the sliced 2-Wasserstein distance of one-hot sequences, {self.projections} projections of seed "
                f"{self.seed}, to held-out ones",
                sliced,
                "lower",
                held_out="other_half",
            ),
            Measure(
                "token_kl",
                "KL of token frequencies in nats",
                f"the KL divergence of token frequencies from held-out ones, {self.pseudocount:g} added to each count",
                divergence,
                "lower",
                held_out="other_half",
            ),
        )


class _Distance:
    """A distance of samples from one half of the held-out ones."""

    def __init__(self, data: JudgedData, distance: Callable[..., Estimate], options: dict[str, Any]) -> None:
        self.data, self.distance, self.options = data, distance, options

    def __call__(self, samples: Any) -> Estimate:
        return self.distance(ids_of(samples).numpy(), self._references, **self.options)

    @cached_property
    def _references(self) -> NDArray[np.int64]:
        return ids_of(self.data.held_out_halves()[0]).numpy()
