"""One evaluation of a pipeline: quality, bounds and cost of its samples, by schedule, budget and temperature."""

from .comparison import Comparison, compared
from .equal_variety import EqualVariety, at_equal_variety
from .evaluate import evaluate_pipeline, evaluate_pipelines
from .models import evaluate_models
from .plots import quality_figure
from .report import markdown_report
from .results import EvaluationResults, Row
from .settings import EvaluationSettings
from .tasks import task_for
from .variety_plot import variety_figure

__all__ = [
    "Comparison",
    "EqualVariety",
    "EvaluationResults",
    "EvaluationSettings",
    "Row",
    "at_equal_variety",
    "compared",
    "evaluate_models",
    "evaluate_pipeline",
    "evaluate_pipelines",
    "markdown_report",
    "quality_figure",
    "task_for",
    "variety_figure",
]
