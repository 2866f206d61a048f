"""Measurements of generated sequences, one per file, each usable through `evaluate`."""

from ladd_hf.metrics.ngram_likelihood import NGramLikelihood, NGramModel
from ladd_hf.metrics.quality_by_evaluations import gap_closed, quality_by_evaluations
from ladd_hf.metrics.sawtooth_likelihood import SawtoothLikelihood
from ladd_hf.metrics.unigram_entropy import unigram_entropy

__all__ = [
    "NGramLikelihood",
    "NGramModel",
    "SawtoothLikelihood",
    "gap_closed",
    "quality_by_evaluations",
    "unigram_entropy",
]
