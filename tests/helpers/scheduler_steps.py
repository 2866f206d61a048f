"""Steps and runs of schedulers with denoisers that say anything."""

from __future__ import annotations

from types import SimpleNamespace

import torch

from ladd_hf import LaddJointScheduler, LaddSequentialScheduler, RowGenerator

ALMOST_NEVER = 1e-4  # p-values below this are failures; the seeds are fixed
SCHEDULERS = {"joint": LaddJointScheduler, "sequential": LaddSequentialScheduler}
KINDS = ("none", "discrete", "continuous")


def rows(count, seed=0):
    return RowGenerator.from_seed(seed, torch.arange(count))


def output_of(seed, batch_size, kind, length=12, vocab=11):
    """A denoiser's output of the tiny sizes, with everything at random."""
    generator = torch.Generator().manual_seed(seed)
    size = {"discrete": 9, "continuous": 3}.get(kind)
    prediction = None if size is None else torch.randn(batch_size, 4, size, generator=generator)
    return SimpleNamespace(
        logits=torch.randn(batch_size, length, vocab, generator=generator), latent_prediction=prediction
    )


def row_of(output, index):
    prediction = output.latent_prediction
    return SimpleNamespace(
        logits=output.logits[index], latent_prediction=None if prediction is None else prediction[index]
    )


def run(scheduler, kind, num_steps, batch_size=3, tokens=None, seed=0, latents=None):
    """A whole run with a denoiser that says anything; yields (step, before, after) of (tokens, latents)."""
    scheduler.set_timesteps(num_steps, latent_time=1.0 if latents is None else 0.0)
    random = rows(batch_size, seed)
    tokens = torch.full((batch_size, 12), 10) if tokens is None else tokens
    latents = scheduler.prior_latents(4, random, batch_size) if latents is None else latents
    for step in scheduler.timesteps:
        before = tokens, latents
        output = output_of(100 + int(step), batch_size, kind)
        tokens, latents = scheduler.step(output, step, tokens, latents, generator=random, return_dict=False)
        yield int(step), before, (tokens, latents)
