"""Explains why a run has no bound."""

from __future__ import annotations

from ..pipelines import LaddPipeline
from .settings import EvaluationSettings


def why_no_bound(pipeline: LaddPipeline, settings: EvaluationSettings) -> str:
    """Returns why `run_bounds` found none for the pipeline's scheduler."""
    scheduler = pipeline.scheduler
    if not hasattr(pipeline.model, "nelbo"):
        return "the model has no `nelbo`"
    if getattr(pipeline.model.config, "latent_self_conditioning", False):
        return "the model's latents see their own last estimate"
    if scheduler.is_tempered:
        own = {name: scheduler.config.get(name, 1.0) for name in ("temperature", "latent_temperature")}
        told = " and ".join(f"{name} {value:g}" for name, value in own.items() if value != 1)
        return f"it draws at {told}, and bounds are of 1"
    if scheduler.has_marginal_bound and not settings.num_proposals:
        return "it has the marginalised one alone: give `num_proposals`, such as 16"
    if scheduler.is_first_hitting:
        return "with `first_hitting` it has one where each step writes a single token, after all latents"
    return "its runs are not of the model's own law"
