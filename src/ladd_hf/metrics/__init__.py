"""Measurements of generated sequences and of models, one per file, with standard errors; those of samples are usable
through `evaluate`."""

from .bootstrap import Estimate, bootstrap_ratio, bootstrap_statistic
from .causal_lm import CausalJudge
from .code_usage import CodebookUsage, CodeUsage, code_usage, usage_of_codes
from .cost import SamplingCost, sampling_cost
from .decoding_schedule import DecodingCurve, decoding_curve, decoding_schedule
from .distribution_distance import DistributionDistance, sliced_wasserstein, token_kl
from .diversity import Diversity, distinct, self_bleu
from .generative_perplexity import GenerativePerplexity
from .latent_usefulness import LatentUsefulness, TokenLoss, latent_usefulness
from .mauve import Mauve, MauveSettings, mauve_of_features
from .memorization import Memorization, TrainingWindows, memorized_share
from .model_measures import MODEL_MEASURES, ModelMeasure, ModelNumber, model_measures, register_model_measure
from .ngram_likelihood import NGramLikelihood, NGramModel
from .one_step_decoding import OneStepDecoding, one_step_accuracy
from .quality_by_evaluations import gap_closed, quality_by_evaluations
from .sawtooth_likelihood import SawtoothLikelihood
from .schedule_tuning import tune_schedule
from .seeded_samples import seeded_samples
from .unigram_entropy import UnigramEntropy, unigram_entropies, unigram_entropy

__all__ = [
    "MODEL_MEASURES",
    "CausalJudge",
    "CodeUsage",
    "CodebookUsage",
    "DecodingCurve",
    "DistributionDistance",
    "Diversity",
    "Estimate",
    "GenerativePerplexity",
    "LatentUsefulness",
    "Mauve",
    "MauveSettings",
    "Memorization",
    "ModelMeasure",
    "ModelNumber",
    "NGramLikelihood",
    "NGramModel",
    "OneStepDecoding",
    "SamplingCost",
    "SawtoothLikelihood",
    "TokenLoss",
    "TrainingWindows",
    "UnigramEntropy",
    "bootstrap_ratio",
    "bootstrap_statistic",
    "code_usage",
    "decoding_curve",
    "decoding_schedule",
    "distinct",
    "gap_closed",
    "latent_usefulness",
    "mauve_of_features",
    "memorized_share",
    "model_measures",
    "one_step_accuracy",
    "quality_by_evaluations",
    "register_model_measure",
    "sampling_cost",
    "seeded_samples",
    "self_bleu",
    "sliced_wasserstein",
    "token_kl",
    "tune_schedule",
    "unigram_entropies",
    "unigram_entropy",
    "usage_of_codes",
]
