"""The number of evaluations that another model gets for the cost of a run."""

from __future__ import annotations

from typing import Any

from ..metrics.cost import sampling_cost
from .models import Models
from .settings import Settings

EVALUATIONS, OPERATIONS = COSTS = ("evaluations", "operations")


def steps_beside(models: Models, settings: Settings, cost: str) -> int:
    """Returns the evaluations of the model beside: as many as the run's, or as many as cost the same operations,
    rounded to the nearest, and at least 1. Raises `ValueError` for another `cost`, and if there is no such model."""
    if cost not in COSTS:
        raise ValueError(f"The cost is {cost!r}; give one of {', '.join(COSTS)}.")
    if models.beside is None:
        raise ValueError("There is no model beside this one.")
    if cost == EVALUATIONS:
        return settings.steps
    same: dict[str, Any] = {} if settings.length is None else {"length": settings.length}
    guided: dict[str, Any] = {"guidance_scale": settings.guidance} if models.latents != "none" else {}
    spent = sampling_cost(settings.scheduled(models.pipeline), settings.steps, **same, **guided).flops
    # each token is projected once in a run of any number of steps, so that operations rise in a straight line
    one, two = (sampling_cost(models.beside, number, **same).flops for number in (1, 2))
    return max(1, 1 + round((spent - one) / (two - one)))
