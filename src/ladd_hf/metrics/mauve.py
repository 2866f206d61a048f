"""MAUVE: closeness of the law of generated texts to that of real ones, in the features of a language model.

Pillutla et al. (2021). Computed by the package `mauve-text` (extra `judges`). `evaluate.load("<this file>",
module_type="measurement")` reads the imports line by line: no import spans two lines.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import evaluate
import numpy as np
from numpy.typing import ArrayLike, NDArray

from ladd_hf.metrics.bootstrap import RESAMPLES, Estimate
from ladd_hf.metrics.causal_lm import CausalJudge
from ladd_hf.metrics.measurement_info import TEXT, measurement_info
from ladd_hf.utils.number_ranges import COUNT, POSITIVE, SEED
from ladd_hf.utils.optional_packages import optional_package

Floats = NDArray[np.float64]

_POINTS = 25  # mixtures on the curve, as many as the authors take
_NUMBERS_AT_ONCE = 1 << 22  # 32 MiB of float64

_DESCRIPTION = """\
MAUVE: the area under the curve of divergences between the laws of generated and real texts, quantised in the features \
of a language model; from 0 to 1, which is reached where both are alike.
"""

_INPUTS_DESCRIPTION = """\
Args:
    data: generated texts, a list of strings.

Returns:
    mauve: mean over k-means seeds.
    mauve_stderr: its standard error for another draw of the generated texts: a bootstrap over them within each \
quantisation, and the spread of the quantisations divided by the root of their number; the references stay.
    clusters, scaling_factor, seeds, first_seed, max_text_length, texts, references: the settings, and the numbers of \
texts that were read; scores of other settings or numbers of texts are not comparable.
    judge: name of the model.
"""

_CITATION = """\
@inproceedings{pillutla2021mauve,
    title = {MAUVE: Measuring the Gap Between Neural Text and Human Text using Divergence Frontiers},
    author = {Pillutla, Krishna and Swayamdipta, Swabha and Zellers, Rowan and Thickstun, John and Welleck, Sean and
        Choi, Yejin and Harchaoui, Zaid},
    booktitle = {Advances in Neural Information Processing Systems},
    year = {2021}
}
"""


@dataclass(frozen=True)
class MauveSettings:
    """Settings without which a MAUVE score has no meaning; their defaults are those of its authors.

    Attributes:
        clusters: k of k-means; `None` for a tenth of the smaller number of texts, at least 2.
        scaling_factor: c, by which divergences are multiplied.
        seeds: number of k-means runs whose scores are averaged; the authors advise 5.
        first_seed: of these runs, numbered from it.
        max_text_length: tokens of a text that are read.

    Raises `ValueError` for a number out of range.
    """

    clusters: int | None = None
    scaling_factor: float = 5.0
    seeds: int = 5
    first_seed: int = 25
    max_text_length: int = 1024

    def __post_init__(self) -> None:
        if self.clusters is not None:
            COUNT.check("clusters", self.clusters)
        POSITIVE.check("scaling_factor", self.scaling_factor)
        COUNT.check("seeds", self.seeds)
        SEED.check("first_seed", self.first_seed)
        COUNT.check("max_text_length", self.max_text_length)

    def clusters_of(self, first: int, second: int) -> int:
        """Returns k for these numbers of texts."""
        return max(2, round(min(first, second) / 10)) if self.clusters is None else self.clusters


def mauve_of_features(samples: ArrayLike, references: ArrayLike, settings: MauveSettings | None = None) -> Estimate:
    """Computes MAUVE from features, `(N, D)` and `(R, D)`: its mean over k-means seeds, with a standard error.

    The error is that of another draw of the N texts, the references being the same: a bootstrap over texts, which moves
    their shares of the clusters, and what k-means with other seeds adds. Texts are not quantised again for each
    resample, where those drawn twice would be clusters of their own.

    Raises `ValueError` for features that are not finite or not of one size, and for fewer texts than clusters;
    `ImportError` without the package `mauve-text`.
    """
    settings = settings or MauveSettings()
    ours, theirs = np.asarray(samples, dtype=np.float64), np.asarray(references, dtype=np.float64)
    if ours.ndim != 2 or theirs.ndim != 2 or ours.shape[1] != theirs.shape[1]:
        raise ValueError(
            f"The features have shapes {ours.shape} and {theirs.shape}; give (texts, dimensions) with as many "
            "dimensions each."
        )
    if not (np.isfinite(ours).all() and np.isfinite(theirs).all()):
        raise ValueError("The features hold nan or infinity: look at the model, or its `dtype`, that gave them.")
    clusters = settings.clusters_of(len(ours), len(theirs))
    if min(len(ours), len(theirs)) < clusters:
        raise ValueError(
            f"MAUVE with {clusters} clusters needs as many texts and references; got {len(ours)} and {len(theirs)}: "
            "give more, or set `clusters`."
        )
    package = optional_package("mauve", "mauve-text", "judges", "MAUVE")
    scores, errors = [], []
    for run in range(settings.seeds):
        found = package.compute_mauve(
            p_features=ours,
            q_features=theirs,
            num_buckets=clusters,
            mauve_scaling_factor=settings.scaling_factor,
            seed=settings.first_seed + run,
        )
        scores.append(found.mauve)
        errors.append(_bootstrap_error(found.p_hist, found.q_hist, len(ours), settings))
    # the runs read the same texts, so that their errors are as good as one; those of k-means are apart
    of_seeds = float(np.std(scores, ddof=1)) / math.sqrt(len(scores)) if len(scores) > 1 else 0.0
    return Estimate(float(np.mean(scores)), math.hypot(float(np.mean(errors)), of_seeds))


def _bootstrap_error(ours: Floats, theirs: Floats, number: int, settings: MauveSettings) -> float:
    """Returns the standard error of the score over draws of `number` texts with the shares `ours` of the clusters."""
    random = np.random.default_rng(settings.first_seed)
    at_once = max(1, _NUMBERS_AT_ONCE // (len(ours) * _POINTS))
    drawn = [
        area_of_divergences(
            random.multinomial(number, ours, min(at_once, RESAMPLES - start)) / number, theirs, settings
        )
        for start in range(0, RESAMPLES, at_once)
    ]
    return float(np.concatenate(drawn).std(ddof=1))


def area_of_divergences(ours: Floats, theirs: Floats, settings: MauveSettings) -> Floats:
    """Returns MAUVE of histograms, `(..., K)` and `(K,)`, as `(...,)`: the area under the curve of
    exp(-c KL(theirs || r)) and exp(-c KL(ours || r)) over mixtures r of the two."""
    shares = np.linspace(1e-6, 1 - 1e-6, _POINTS)[:, None]
    p, q = ours[..., None, :], theirs
    mixed = shares * p + (1 - shares) * q  # (..., points, K)
    x, y = (np.exp(-settings.scaling_factor * _divergences(one, mixed)) for one in (q, p))
    one, zero = np.ones((*x.shape[:-1], 1)), np.zeros((*x.shape[:-1], 1))
    x, y = np.concatenate([one, x, zero], axis=-1), np.concatenate([zero, y, one], axis=-1)
    return (-np.diff(x) * (y[..., 1:] + y[..., :-1]) / 2).sum(-1)


def _divergences(law: Floats, mixed: Floats) -> Floats:
    """Returns KL(law || mixed), which is finite: where a mixture is 0, the law is, too."""
    with np.errstate(divide="ignore", invalid="ignore"):
        terms = law * np.log(law / mixed)
    return np.where(np.broadcast_to(law, mixed.shape) > 0, terms, 0).sum(-1)


def text_features(judge: CausalJudge, texts: Sequence[str], settings: MauveSettings | None = None) -> NDArray[Any]:
    """Returns the features of the texts that have tokens, `(N, D)`: the model's last hidden state at their last token
    of `max_text_length`. Raises `ValueError` if none has."""
    rows = [row for row in judge.token_ids(texts) if row]
    if not rows:
        raise ValueError("The texts are all empty, and have no features: give texts with tokens.")
    return judge.features(rows, (settings or MauveSettings()).max_text_length)


class Mauve(evaluate.Measurement):
    """MAUVE of texts against references: `Mauve(references, model="gpt2-large").compute(data=texts)`.

    Args:
        references: R real texts.
        model, tokenizer, batch_size, dtype, device: see [`CausalJudge`].
        settings: see [`MauveSettings`].

    Raises the errors of [`CausalJudge`], [`MauveSettings`] and [`mauve_of_features`].
    """

    def __init__(
        self,
        references: Sequence[str],
        model: Any = "gpt2-large",
        tokenizer: Any = None,
        batch_size: int = 16,
        dtype: Any = None,
        device: Any = None,
        settings: MauveSettings | None = None,
        **kwargs: Any,
    ) -> None:
        self.settings = settings or MauveSettings()
        self.judge = CausalJudge(model, tokenizer, batch_size, dtype=dtype, device=device)
        self.references = text_features(self.judge, references, self.settings)
        super().__init__(**kwargs)

    def _info(self) -> evaluate.MeasurementInfo:
        return measurement_info(_DESCRIPTION, _INPUTS_DESCRIPTION, TEXT, citation=_CITATION)

    def _compute(self, data: Sequence[str]) -> dict[str, Any]:
        features = text_features(self.judge, data, self.settings)
        return {
            **mauve_of_features(features, self.references, self.settings).named("mauve"),
            "clusters": self.settings.clusters_of(len(features), len(self.references)),
            "scaling_factor": self.settings.scaling_factor,
            "seeds": self.settings.seeds,
            "first_seed": self.settings.first_seed,
            "max_text_length": self.settings.max_text_length,
            "texts": len(features),
            "references": len(self.references),
            "judge": self.judge.name,
        }
