"""Likelihood of generated sequences under the true binary sawtooth distribution.

`evaluate.load("<this file>", module_type="measurement")` reads the imports line by line: no import spans two lines.
"""

from __future__ import annotations

import math
from typing import Any

import datasets
import evaluate
from numpy.typing import ArrayLike

from ladd_hf.data.sawtooth import SawtoothDistribution, binary_sequences
from ladd_hf.metrics.measurement_info import measurement_info

_DESCRIPTION = """\
The exact negative log-likelihood of sequences under the binary sawtooth distribution, the synthetic experiment of \
arXiv 2510.18114, and the entropy of that distribution to hold it against.
"""

_INPUTS_DESCRIPTION = """\
Args:
    data: sequences of the tokens 0 and 1, an array or list of shape (N, S) with N >= 1 and S >= 2.

Returns, all in nats per token:
    nats_per_token: mean of -log p(x) / S over the sequences.
    nats_per_token_stderr: its standard error; nan for a single sequence.
    entropy_per_token: what perfect samples give on average.
    entropy_per_token_stderr: standard error of that number, 0.0 where it is exact (even S up to 32, odd S up to 25).

Samples above the entropy are implausible; samples below it are too alike, such as those of a model that draws the
likeliest sequences only.
"""

_CITATION = """\
@misc{shariatian2025ladd,
    title = {Latent-Augmented Discrete Diffusion Models},
    author = {Shariatian, Dario and Durmus, Alain and Simsekli, Umut and Peluchetti, Stefano},
    year = {2025},
    eprint = {2510.18114},
    archivePrefix = {arXiv},
    url = {https://arxiv.org/abs/2510.18114}
}
"""


class SawtoothLikelihood(evaluate.Measurement):
    """Mean -log p(x) of sequences under the paper's binary sawtooth (arXiv 2510.18114), with the entropy to compare.

    `SawtoothLikelihood().compute(data=sequences)` takes `(N, S)` zeros and ones (array, CPU tensor or nested list)
    and returns `nats_per_token`, `nats_per_token_stderr`, `entropy_per_token` and `entropy_per_token_stderr`, all in
    nats per token. The mean of perfect samples is the entropy; distance to it on either side is an error.

    Raises:
        ValueError: the sequences are empty, are not of shape `(N, S)` with S >= 2, or hold ids other than 0 and 1.
    """

    def _info(self) -> evaluate.MeasurementInfo:
        return measurement_info(
            _DESCRIPTION,
            _INPUTS_DESCRIPTION,
            datasets.List(datasets.Value("uint8")),
            citation=_CITATION,
            reference_urls=["https://arxiv.org/abs/2510.18114"],
        )

    def add_batch(self, *, data: ArrayLike, **kwargs: Any) -> None:
        """Adds `(n, S)` sequences to those that the next `compute()` measures."""
        # Checked before evaluate opens its file: as of evaluate 0.4.6 a later error is of types, or leaves it locked.
        sequences = binary_sequences(data)
        SawtoothDistribution(sequences.shape[1])
        super().add_batch(data=sequences.tolist(), **kwargs)

    def _compute(self, data: ArrayLike) -> dict[str, float]:
        sequences = binary_sequences(data)
        num_sequences, length = sequences.shape
        distribution = SawtoothDistribution(length)
        nats = -distribution.log_likelihood(sequences) / length
        stderr = nats.std(ddof=1) / math.sqrt(num_sequences) if num_sequences > 1 else math.nan
        entropy = distribution.entropy()
        return {
            "nats_per_token": float(nats.mean()),
            "nats_per_token_stderr": float(stderr),
            "entropy_per_token": entropy.nats / length,
            "entropy_per_token_stderr": entropy.standard_error / length,
        }
