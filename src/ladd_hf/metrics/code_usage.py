"""Usage of a codebook over a corpus: perplexity of the codes' frequencies, used and dead codes.

`evaluate.load("<this file>", module_type="measurement")` reads the imports line by line: no import spans two lines.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import evaluate
import numpy as np
from numpy.typing import ArrayLike, NDArray

from ladd_hf.diffusion.masked_channels import DiscreteLatents
from ladd_hf.metrics.bootstrap import Estimate, bootstrap_counts, held_by_one, jackknife
from ladd_hf.metrics.clean_batches import Batch, encoded_batches
from ladd_hf.metrics.measurement_info import IDS, measurement_info
from ladd_hf.models.eval_mode import evaluation_mode
from ladd_hf.models.fsdp import gathered_for
from ladd_hf.utils.number_ranges import COUNT

Counts = NDArray[np.int64]

_RESAMPLES = 100

_DESCRIPTION = """\
The perplexity of the frequencies of codes over a corpus, and how many of the codebook's codes occur.
"""

_INPUTS_DESCRIPTION = """\
Args:
    data: codes of texts, (N, M).

Returns:
    perplexity: exp of the entropy of the codes' frequencies over all texts and positions, from 1 to the number of \
codes.
    perplexity_stderr: its standard error, a bootstrap over texts; left out for a single one. Few texts for many codes \
also bias it downwards.
    used, dead: numbers of codes that occur, and that do not; used_stderr, dead_stderr: their standard error, a \
jackknife over texts.
    perplexity_of_positions, used_of_positions: the same for each of the M positions.
    codes: size of the codebook.
"""


@dataclass(frozen=True)
class CodebookUsage:
    """Usage of a codebook.

    Attributes:
        perplexity: of the frequencies of all codes, whatever their position.
        used: number of codes that occur.
        codes: size K of the codebook.
        perplexity_of_positions: of the frequencies at each of the M positions.
        used_of_positions: number of codes that occur at each of them.
        used_stderr: standard error of `used`, and of `dead`, a jackknife over texts; `None` for a single text.
    """

    perplexity: Estimate
    used: int
    codes: int
    perplexity_of_positions: tuple[float, ...]
    used_of_positions: tuple[int, ...]
    used_stderr: float | None = None

    @property
    def dead(self) -> int:
        """Number of codes that do not occur."""
        return self.codes - self.used


def usage_of_codes(codes: ArrayLike, codebook_size: int, resamples: int = _RESAMPLES, seed: int = 0) -> CodebookUsage:
    """Computes the usage of a codebook of `codebook_size` codes from the codes of N texts, `(N, M)`.

    Raises `ValueError` for codes that are not of that shape, or not of this codebook.
    """
    COUNT.check("codebook_size", codebook_size)
    rows = np.asarray(codes)
    if rows.ndim != 2 or not rows.size or rows.dtype.kind not in "iu":
        raise ValueError(
            f"The codes have shape {rows.shape} and dtype {rows.dtype}; give whole numbers, (texts, latents)."
        )
    if rows.min() < 0 or rows.max() >= codebook_size:
        raise ValueError(
            f"There are codes from {rows.min()} to {rows.max()}, but the codebook has {codebook_size}: give codes from "
            f"0 to {codebook_size - 1}."
        )
    number, length = rows.shape
    positions = [np.bincount(column, minlength=codebook_size) for column in rows.T]
    counts = np.sum(positions, axis=0)
    used, stderr, used_stderr = int((counts > 0).sum()), None, None
    if number > 1:
        used_stderr = jackknife(
            used, used - held_by_one(np.repeat(np.arange(number), length), rows.ravel(), number)
        ).stderr
        flat = rows.ravel()
        drawn = [
            _perplexity(np.bincount(flat, np.repeat(times, length), minlength=codebook_size))
            for times in bootstrap_counts(number, resamples, seed)
        ]
        stderr = float(np.std(drawn, ddof=1))
    return CodebookUsage(
        Estimate(_perplexity(counts), stderr),
        used,
        codebook_size,
        tuple(_perplexity(one) for one in positions),
        tuple(int((one > 0).sum()) for one in positions),
        used_stderr,
    )


def usage_scores(usage: CodebookUsage) -> dict[str, Estimate]:
    """Returns `codes_perplexity`, `codes_used` and `codes_dead`."""
    used, dead = (Estimate(count, usage.used_stderr) for count in (usage.used, usage.dead))
    return {"codes_perplexity": usage.perplexity, "codes_used": used, "codes_dead": dead}


def _perplexity(counts: NDArray[Any]) -> float:
    p = counts[counts > 0] / counts.sum()
    return float(np.exp(-(p * np.log(p)).sum()))


def code_usage(model: Any, batches: Iterable[Batch], resamples: int = _RESAMPLES, seed: int = 0) -> CodebookUsage:
    """Computes the usage of a model's codebook over a corpus; the codebook learns nothing from it.

    Args:
        model: a denoiser with discrete latents.
        batches: `(B, S)` ids each, or mappings with `input_ids`, `attention_mask` and `precomputed_latents`.
        resamples, seed: of the bootstrap over texts.

    If the model's weights are sharded, every process has to call this, with the same texts. Raises `ValueError` for a
    model without codes, and without batches.
    """
    if not isinstance(model.latent_channel, DiscreteLatents):
        raise ValueError("The model has no codes (`latent_type` is not 'discrete'): give one that has.")
    with evaluation_mode(model), gathered_for(model, "encode"):
        codes = [batch.clean.cpu().numpy() for batch in encoded_batches(model, batches)]
    if not codes:
        raise ValueError("There are no batches: give one or more.")
    return usage_of_codes(np.concatenate(codes), model.latent_channel.mask_id, resamples, seed)


class CodeUsage(evaluate.Measurement):
    """Usage of a codebook from codes, such as `encode_latents` gives: `CodeUsage(512).compute(data=codes)`.

    Args:
        codebook_size: K.
    """

    def __init__(self, codebook_size: int, **kwargs: Any) -> None:
        self.codebook_size = codebook_size
        super().__init__(**kwargs)

    def _info(self) -> evaluate.MeasurementInfo:
        return measurement_info(_DESCRIPTION, _INPUTS_DESCRIPTION, IDS)

    def _compute(self, data: ArrayLike) -> dict[str, Any]:
        usage = usage_of_codes(data, self.codebook_size)
        return {
            **usage.perplexity.named("perplexity"),
            **Estimate(usage.used, usage.used_stderr).named("used"),
            **Estimate(usage.dead, usage.used_stderr).named("dead"),
            "perplexity_of_positions": list(usage.perplexity_of_positions),
            "used_of_positions": list(usage.used_of_positions),
            "codes": usage.codes,
        }
