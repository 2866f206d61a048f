"""Pipelines: a model, a scheduler and a tokenizer in one object."""

from .included import included_pipeline, included_pipelines
from .pipeline_ladd import LaddPipeline
from .pipeline_output import LaddPipelineOutput

__all__ = ["LaddPipeline", "LaddPipelineOutput", "included_pipeline", "included_pipelines"]
