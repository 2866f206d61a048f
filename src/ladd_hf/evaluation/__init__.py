"""One evaluation of a pipeline: quality, bounds and cost of its samples, by schedule, budget and temperature."""

from .comparison import Comparison, compared
from .diversity_plot import diversity_figure
from .equal_diversity import EqualDiversity, at_equal_diversity
from .evaluate import evaluate_pipeline, evaluate_pipelines
from .models import evaluate_models
from .plots import quality_figure
from .report import markdown_report
from .results import EvaluationResults, Row
from .settings import EvaluationSettings
from .tasks import task_for

__all__ = [
    "Comparison",
    "EqualDiversity",
    "EvaluationResults",
    "EvaluationSettings",
    "Row",
    "at_equal_diversity",
    "compared",
    "diversity_figure",
    "evaluate_models",
    "evaluate_pipeline",
    "evaluate_pipelines",
    "markdown_report",
    "quality_figure",
    "task_for",
]
