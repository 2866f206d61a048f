"""Quantiser dropout: examples whose codes reach the denoiser unrounded, so that the encoder hears what would help."""

from __future__ import annotations

import pytest
import torch

from ladd_hf import TrainingNoise, TrainingObjective


def vectors_seen(model, share):
    """Returns the input of the latent stream in a training step, with every code visible."""
    seen = []
    hook = model.model.register_forward_hook(lambda module, args, output: seen.append(args[1]))
    tokens = torch.randint(1, 10, (64, 12), generator=torch.Generator().manual_seed(0))
    objective = TrainingObjective(time_distribution="tokens", quantizer_dropout=share)
    model(labels=tokens, objective=objective, noise=TrainingNoise(0, torch.arange(64)), loss_only=True)
    hook.remove()
    return seen[0], model.encode(tokens)


@pytest.mark.parametrize("kind", ["discrete", "vector", "gumbel"])
def test_a_share_of_the_examples_is_unrounded(stirred_model, kind):
    seen, encoded = vectors_seen(stirred_model(kind), 0.5)
    rounded = torch.isclose(seen, encoded.vectors).flatten(1).all(1)
    unrounded = torch.isclose(seen, encoded.unquantized, atol=1e-5).flatten(1).all(1)
    assert (rounded ^ unrounded).all()
    assert 16 < int(unrounded.sum()) < 48


def test_without_it_every_code_is_rounded(stirred_model):
    seen, encoded = vectors_seen(stirred_model("discrete"), 0.0)
    torch.testing.assert_close(seen, encoded.vectors)


def test_finite_scalar_codes_are_the_nearest_to_what_they_round(stirred_model):
    """Within half a level of the codes' own coordinates, before these are projected."""
    quantizer = stirred_model("discrete").quantizer
    latents = torch.randn(32, 4, 3, generator=torch.Generator().manual_seed(1))
    coordinates = torch.nn.Identity()
    project_out, quantizer.quantize.project_out = quantizer.quantize.project_out, coordinates
    rounded = quantizer.codes_to_vectors(quantizer(latents, frozen=True).codes)
    distance = (quantizer(latents, frozen=True).unquantized - rounded).abs().detach()
    quantizer.quantize.project_out = project_out
    assert float(distance.max()) <= 0.5 + 1e-5  # levels of 3 lie 1 apart
    assert float(distance.max()) > 0.1
