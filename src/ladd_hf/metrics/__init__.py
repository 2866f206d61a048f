"""Measurements of generated sequences and of models, one per file, with standard errors; those of samples are usable
through `evaluate`."""

from .bootstrap import Estimate, bootstrap_ratio, bootstrap_statistic
from .causal_lm import CausalJudge
from .cost import SamplingCost, sampling_cost
from .distribution_distance import DistributionDistance, sliced_wasserstein, token_kl
from .diversity import Diversity, distinct, self_bleu
from .generative_perplexity import GenerativePerplexity
from .mauve import Mauve, MauveSettings, mauve_of_features
from .memorization import Memorization, TrainingWindows, memorized_share
from .ngram_likelihood import NGramLikelihood, NGramModel
from .one_step_decoding import OneStepDecoding, one_step_accuracy
from .quality_by_evaluations import gap_closed, quality_by_evaluations
from .sawtooth_likelihood import SawtoothLikelihood
from .unigram_entropy import UnigramEntropy, unigram_entropies, unigram_entropy

__all__ = [
    "CausalJudge",
    "DistributionDistance",
    "Diversity",
    "Estimate",
    "GenerativePerplexity",
    "Mauve",
    "MauveSettings",
    "Memorization",
    "NGramLikelihood",
    "NGramModel",
    "OneStepDecoding",
    "SamplingCost",
    "SawtoothLikelihood",
    "TrainingWindows",
    "UnigramEntropy",
    "bootstrap_statistic",
    "bootstrap_ratio",
    "distinct",
    "gap_closed",
    "mauve_of_features",
    "memorized_share",
    "one_step_accuracy",
    "quality_by_evaluations",
    "sampling_cost",
    "self_bleu",
    "sliced_wasserstein",
    "token_kl",
    "unigram_entropies",
    "unigram_entropy",
]
