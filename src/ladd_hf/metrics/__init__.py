"""Measurements of generated sequences, one per file; those of likelihood are usable through `evaluate`."""

from .cost import SamplingCost, sampling_cost
from .ngram_likelihood import NGramLikelihood, NGramModel
from .one_step_decoding import OneStepDecoding, one_step_accuracy
from .quality_by_evaluations import gap_closed, quality_by_evaluations
from .sawtooth_likelihood import SawtoothLikelihood
from .seeded_samples import seeded_samples
from .schedule_tuning import tune_schedule
from .unigram_entropy import unigram_entropy

__all__ = [
    "NGramLikelihood",
    "NGramModel",
    "OneStepDecoding",
    "SamplingCost",
    "SawtoothLikelihood",
    "gap_closed",
    "one_step_accuracy",
    "quality_by_evaluations",
    "sampling_cost",
    "seeded_samples",
    "tune_schedule",
    "unigram_entropy",
]
