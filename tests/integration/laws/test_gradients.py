"""The training loss has the gradient of the bound, checked by finite differences in float64 on a tiny model."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch

from ladd_hf import LaddConfig, LaddForDiffusionLM, RowGenerator, TrainingNoise, TrainingObjective
from ladd_hf.diffusion.paths import JOINT, SEQUENTIAL, TOKENS_ONLY

V, S, M = 2, 3, 2
TEXTS = torch.tensor(list(itertools.product(range(V), repeat=S)))
KINDS = {
    "none": {},
    "discrete": {"latent_type": "discrete", "latent_length": M, "latent_dim": 2},
    "continuous": {"latent_type": "continuous", "latent_length": M, "latent_dim": 2},
}
# Far from clean everywhere: else the bound's weight of small times drowns what any number of draws could show.
NOISY = {"latent_noise_schedule": {"name": "linear", "eps": 0.2}}
PATHS = {"joint": JOINT, "sequential": SEQUENTIAL, "tokens": TOKENS_ONLY}


def tiny(kind, **overrides):
    """A model of float64 with noise on every weight, its encoder fixed."""
    torch.manual_seed(0)
    quantizer = {"quantizer": {"name": "finite_scalar", "levels": [3]}} if kind == "discrete" else {}
    options = {**quantizer, **KINDS[kind]}
    config = LaddConfig(
        vocab_size=V + 1,
        hidden_size=8,
        num_hidden_layers=1,
        num_attention_heads=2,
        cond_hidden_size=4,
        max_position_embeddings=S,
        **{**options, **overrides},
    )
    model = LaddForDiffusionLM(config).double().eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    model.freeze_latent_encoder()
    return model


def direction_of(model):
    """One random direction in the space of the weights that learn."""
    generator = torch.Generator().manual_seed(1)
    return {
        name: torch.randn(p.shape, generator=generator, dtype=torch.float64)
        for name, p in model.named_parameters()
        if p.requires_grad
    }


def finite_difference(model, direction, value, step):
    """(value(w + step d) - value(w - step d)) / (2 step)."""
    values = []
    for sign in (1, -1):
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                parameter.add_(sign * step * direction[name]) if name in direction else None
            values.append(float(value()))
            for name, parameter in model.named_parameters():
                parameter.sub_(sign * step * direction[name]) if name in direction else None
    return (values[0] - values[1]) / (2 * step)


def slope(model, direction, loss):
    """The gradient along the direction."""
    model.zero_grad()
    loss.backward()
    return sum(
        float((p.grad * direction[name]).sum())
        for name, p in model.named_parameters()
        if p.grad is not None and name in direction
    )


def objective_of(path):
    """The bound's weights on both channels, so that S times the loss is the mean bound of a text."""
    return TrainingObjective(
        time_distribution=path, token_weighting="elbo", latent_weighting="elbo", latent_loss_weight=M / S
    )


def training_loss(model, path, first, repeats=64):
    texts = TEXTS.repeat(repeats, 1)
    noise = TrainingNoise(0, torch.arange(first, first + len(texts)))
    return S * model(texts, labels=texts, objective=objective_of(path), noise=noise, loss_only=True).loss


def exact_bound(model, path, nodes=12):
    """Mean bound of all texts in nats, by Gauss-Legendre on each leg and by summing over all masks."""
    places, weights = np.polynomial.legendre.leggauss(nodes)
    has_codes = model.config.latent_type == "discrete"
    codes = model.encode_latents(TEXTS) if has_codes else TEXTS[:, :0]
    total = 0.0
    for (x1, y1), (x0, y0) in itertools.pairwise((PATHS[path] if has_codes else TOKENS_ONLY).vertices):
        for place, weight in zip((places + 1) / 2, weights / 2, strict=True):
            t_x, t_y = x0 + (x1 - x0) * place, y0 + (y1 - y0) * place
            for pattern in itertools.product((False, True), repeat=S + codes.shape[1]):
                hidden_x, hidden_y = torch.tensor(pattern[:S]), torch.tensor(pattern[S:], dtype=torch.bool)
                chance = math.prod(t_x if hidden else 1 - t_x for hidden in pattern[:S])
                chance *= math.prod(t_y**2 if hidden else 1 - t_y**2 for hidden in pattern[S:])
                if chance == 0:
                    continue
                latents = torch.where(hidden_y, model.config.codebook_size, codes) if has_codes else None
                output = model(torch.where(hidden_x, V, TEXTS), latents)
                log_p = output.logits.log_softmax(-1).gather(2, TEXTS[..., None])[..., 0]
                total -= weight * chance * (x1 - x0) / t_x * float((log_p * hidden_x).sum(1).mean())
                if has_codes and y1 > y0:
                    log_p = output.latent_prediction.log_softmax(-1).gather(2, codes[..., None])[..., 0]
                    total -= weight * chance * (y1 - y0) * 2 / t_y * float((log_p * hidden_y).sum(1).mean())
    return total


@pytest.mark.parametrize(("kind", "path"), [("none", "joint"), ("discrete", "joint"), ("discrete", "sequential")])
def test_the_mean_gradient_of_the_training_loss_is_that_of_the_exact_bound(kind, path):
    model = tiny(kind)
    direction = direction_of(model)
    exact = finite_difference(model, direction, lambda: exact_bound(model, path), 1e-5)
    slopes = torch.tensor([slope(model, direction, training_loss(model, path, 10_000 * i, 1000)) for i in range(40)])
    error = float(slopes.std() / math.sqrt(len(slopes)))
    assert float(slopes.mean()) == pytest.approx(exact, abs=5 * error)
    assert 5 * error < 0.1 * abs(exact), "else nothing was shown"


@pytest.mark.parametrize("predicts", ["sample", "epsilon", "v", {"name": "preconditioned", "data_std": 0.5}], ids=str)
@pytest.mark.parametrize("path", ["joint", "sequential"])
def test_for_continuous_latents_it_is_that_of_the_estimated_bound(path, predicts):
    """Both ends of the difference have the same noise, and so little of it is left."""
    model = tiny("continuous", latent_prediction_type=predicts, **NOISY)
    direction = direction_of(model)
    texts = TEXTS.repeat(64, 1)

    def bound(seed):
        random = RowGenerator.from_seed(seed, torch.arange(len(texts)))
        return model.nelbo(texts, path=path, num_samples=16, generator=random).total_nats.mean()

    bounds = torch.tensor([finite_difference(model, direction, lambda s=s: bound(s), 1e-5) for s in range(16)])
    slopes = torch.tensor([slope(model, direction, training_loss(model, path, 10_000 * i)) for i in range(80)])
    error = math.sqrt(float(bounds.var() / len(bounds) + slopes.var() / len(slopes)))
    assert float(slopes.mean()) == pytest.approx(float(bounds.mean()), abs=5 * error)
    assert 5 * error < 0.25 * abs(float(bounds.mean())), "else nothing was shown"


@pytest.mark.parametrize("path", ["joint", "sequential", "independent"])
@pytest.mark.parametrize("kind", KINDS)
def test_at_given_noise_the_gradient_is_that_of_the_loss(kind, path):
    model = tiny(kind)
    direction = direction_of(model)
    expected = finite_difference(model, direction, lambda: training_loss(model, path, 0, repeats=2), 1e-5)
    assert slope(model, direction, training_loss(model, path, 0, repeats=2)) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("path", ["joint", "tokens"])
def test_an_encoder_of_continuous_latents_gets_the_losss_gradient_too(path):
    model = tiny("continuous")
    model.freeze_latent_encoder(False)
    direction = {name: d for name, d in direction_of(model).items() if name.startswith("encoder.")}
    assert direction

    def loss():
        noise, options = TrainingNoise(0, torch.arange(len(TEXTS))), objective_of(path).__dict__
        objective = TrainingObjective(**{**options, "latent_target_gradient": True, "latent_kl_weight": 0.1})
        return model(TEXTS, labels=TEXTS, objective=objective, noise=noise, loss_only=True).loss

    expected = finite_difference(model, direction, loss, 1e-5)
    assert abs(expected) > 1e-3
    assert slope(model, direction, loss()) == pytest.approx(expected, rel=1e-6)


def test_straight_through_the_encoder_gets_the_gradient_at_the_codes_vectors():
    """d loss / d vectors, taken where the codes are, times what the encoder's outputs move the bounded coordinates."""
    model = tiny("discrete")
    model.freeze_latent_encoder(False)
    noise, objective = TrainingNoise(0, torch.arange(len(TEXTS))), objective_of("tokens")
    seen, encode = [], model.encode

    def watched(*args, **kwargs):
        encoded = encode(*args, **kwargs)
        encoded.vectors.retain_grad()
        seen.append(encoded)
        return encoded

    model.encode = watched
    model.zero_grad()
    model(TEXTS, labels=TEXTS, objective=objective, noise=noise, loss_only=True).loss.backward()
    (encoded,) = seen
    weights = [p for p in model.encoder.parameters() if p.grad is not None]
    assert weights and encoded.vectors.grad.abs().sum() > 0
    through = torch.autograd.grad(
        encode(TEXTS).unquantized, weights, grad_outputs=encoded.vectors.grad, allow_unused=True
    )
    for weight, expected in zip(weights, through, strict=True):
        torch.testing.assert_close(weight.grad, expected, rtol=1e-5, atol=1e-9)  # the quantiser bounds in float32
