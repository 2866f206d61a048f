"""Latent-Augmented Discrete Diffusion (LADD, arXiv 2510.18114) for the Hugging Face ecosystem.

The names of the stub beside this file are loaded when they are asked for, except for the models, which transformers has
to know: training, pipelines and data cost nothing until they are used.
"""

import lazy_loader
from transformers import AutoConfig, AutoModel, AutoModelForMaskedLM

from .models.configuration_ladd import LaddConfig
from .models.modeling_ladd import LaddForDiffusionLM, LaddModel

__version__ = "0.1.0.dev0"
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)

AutoConfig.register(LaddConfig.model_type, LaddConfig, exist_ok=True)
AutoModel.register(LaddConfig, LaddModel, exist_ok=True)
AutoModelForMaskedLM.register(LaddConfig, LaddForDiffusionLM, exist_ok=True)
