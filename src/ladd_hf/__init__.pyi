from .convert.mdlm import from_mdlm as from_mdlm
from .diffusion.nelbo import Nelbo as Nelbo
from .diffusion.noise_schedules import register_gaussian_schedule as register_gaussian_schedule
from .diffusion.noise_schedules import register_mask_schedule as register_mask_schedule
from .diffusion.objective import TrainingObjective as TrainingObjective
from .diffusion.paths import TimePath as TimePath
from .diffusion.rng import RowGenerator as RowGenerator
from .diffusion.time_sampling import TrainingNoise as TrainingNoise
from .models.configuration_ladd import MODEL_SIZES as MODEL_SIZES
from .models.configuration_ladd import LaddConfig as LaddConfig
from .models.encoders.pooling import register_pooling as register_pooling
from .models.modeling_ladd import LaddForDiffusionLM as LaddForDiffusionLM
from .models.modeling_ladd import LaddModel as LaddModel
from .models.modeling_outputs import LaddModelOutput as LaddModelOutput
from .models.modeling_outputs import LaddOutput as LaddOutput
from .models.quantizers.quantizer_options import register_quantizer as register_quantizer
from .models.text_frame import TextFrame as TextFrame
from .pipelines.pipeline_ladd import LaddPipeline as LaddPipeline
from .pipelines.pipeline_ladd import LaddPipelineOutput as LaddPipelineOutput
from .schedulers.scheduling_joint import LaddJointScheduler as LaddJointScheduler
from .schedulers.scheduling_ladd import LaddScheduler as LaddScheduler
from .schedulers.scheduling_ladd import LaddSchedulerOutput as LaddSchedulerOutput
from .schedulers.scheduling_sequential import LaddSequentialScheduler as LaddSequentialScheduler
from .training.arguments import LaddTrainingArguments as LaddTrainingArguments
from .training.trainer import LaddTrainer as LaddTrainer

__version__: str
