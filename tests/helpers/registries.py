"""Restores registries after a test has added choices to them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from ladd_hf.data.corpora import CORPORA
from ladd_hf.diffusion.gaussian import LATENT_SOLVERS
from ladd_hf.diffusion.noise_schedules import GAUSSIAN_SCHEDULES, MASK_SCHEDULES
from ladd_hf.diffusion.objective import LOSS_TERMS
from ladd_hf.diffusion.paths import TIME_PATHS, TIMESTEP_SPACINGS
from ladd_hf.diffusion.token_waiting import TOKEN_WAITINGS
from ladd_hf.metrics.model_measures import MODEL_MEASURES
from ladd_hf.models.encoders.pooling import POOLINGS
from ladd_hf.models.quantizers.quantizer_options import QUANTIZERS
from ladd_hf.schedulers.remasking import REMASKINGS
from ladd_hf.schedulers.unmasking import UNMASKINGS
from ladd_hf.tasks.judges import JUDGES

REGISTRIES = (
    *(MASK_SCHEDULES, GAUSSIAN_SCHEDULES, LATENT_SOLVERS, TIME_PATHS, TIMESTEP_SPACINGS),
    *(LOSS_TERMS, UNMASKINGS, REMASKINGS, TOKEN_WAITINGS, QUANTIZERS, POOLINGS, CORPORA, JUDGES, MODEL_MEASURES),
)


@contextmanager
def kept() -> Iterator[None]:
    """Context in which choices may be registered; they are removed afterwards."""
    before = [dict(registry.items()) for registry in REGISTRIES]
    try:
        yield
    finally:
        for registry, entries in zip(REGISTRIES, before, strict=True):
            registry._entries = entries
