"""Latent-Augmented Discrete Diffusion (LADD, arXiv 2510.18114) for the Hugging Face ecosystem."""

from transformers import AutoConfig, AutoModel, AutoModelForMaskedLM

from .configuration_ladd import MODEL_SIZES, LaddConfig
from .modeling_ladd import LaddForDiffusionLM, LaddModel, LaddModelOutput, LaddOutput
from .nelbo import Nelbo
from .objective import TrainingObjective
from .pipelines import LaddPipeline, LaddPipelineOutput
from .randomness import RowGenerator
from .schedulers import LaddJointScheduler, LaddScheduler, LaddSchedulerOutput, LaddSequentialScheduler
from .text_frame import TextFrame
from .time_paths import TimePath
from .trainer import LaddTrainer
from .training_args import LaddTrainingArguments
from .training_noise import TrainingNoise

AutoConfig.register(LaddConfig.model_type, LaddConfig, exist_ok=True)
AutoModel.register(LaddConfig, LaddModel, exist_ok=True)
AutoModelForMaskedLM.register(LaddConfig, LaddForDiffusionLM, exist_ok=True)

__version__ = "0.1.0.dev0"
__all__ = [
    "MODEL_SIZES",
    "LaddConfig",
    "LaddForDiffusionLM",
    "LaddJointScheduler",
    "LaddModel",
    "LaddModelOutput",
    "LaddOutput",
    "LaddPipeline",
    "LaddPipelineOutput",
    "LaddScheduler",
    "LaddSchedulerOutput",
    "LaddSequentialScheduler",
    "LaddTrainer",
    "LaddTrainingArguments",
    "Nelbo",
    "RowGenerator",
    "TextFrame",
    "TimePath",
    "TrainingNoise",
    "TrainingObjective",
]
