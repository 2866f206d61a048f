"""Measurements of generated sequences, one per file, each usable through `evaluate`."""

from ladd_hf.metrics.ngram_likelihood import NGramLikelihood, NGramModel
from ladd_hf.metrics.one_step_decoding import OneStepDecoding, one_step_accuracy
from ladd_hf.metrics.quality_by_evaluations import gap_closed, quality_by_evaluations
from ladd_hf.metrics.sawtooth_likelihood import SawtoothLikelihood
from ladd_hf.metrics.unigram_entropy import unigram_entropy

__all__ = [
    "NGramLikelihood",
    "NGramModel",
    "OneStepDecoding",
    "SawtoothLikelihood",
    "gap_closed",
    "one_step_accuracy",
    "quality_by_evaluations",
    "unigram_entropy",
]
