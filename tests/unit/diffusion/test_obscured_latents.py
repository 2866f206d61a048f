"""Latents that tokens cannot rely on: shares, noise and gradients, and that nothing else changes."""

from __future__ import annotations

import math

import pytest
import torch

from ladd_hf.diffusion.channels import EncodedLatents
from ladd_hf.diffusion.continuous_latents import ContinuousLatents
from ladd_hf.diffusion.masked_channels import DiscreteLatents, MaskedChannel
from ladd_hf.diffusion.noise_schedules import gaussian_schedule, mask_schedule
from ladd_hf.diffusion.objective import TrainingObjective
from ladd_hf.diffusion.rng import RowGenerator
from ladd_hf.diffusion.time_sampling import TrainingNoise
from ladd_hf.diffusion.training_loss import training_loss
from ladd_hf.models.encoders.feature_noise import with_noise
from ladd_hf.models.modeling_ladd import LaddOutput

ROWS, LENGTH, M, D, K = 2000, 6, 3, 4, 8


class Stub:
    """A denoiser that keeps what it is shown; latents are looked up by the first tokens."""

    def __init__(self, discrete=False):
        generator = torch.Generator().manual_seed(0)
        self.token_channel = MaskedChannel(mask_schedule("linear"), 5)
        self.latent_channel = ContinuousLatents(gaussian_schedule("sqrt"), False, D)
        if discrete:
            self.latent_channel = DiscreteLatents(mask_schedule("linear"), K)
        self.table = (3 + torch.randn(K, D, generator=generator)).requires_grad_()
        self.calls, self.noise = [], None

    def encode(self, tokens, attention_mask=None, random=None, update_codebook=True, feature_noise=None):
        self.noise = feature_noise
        codes = tokens[:, :M]
        vectors = self.clean = self.table[codes]
        codes = codes if isinstance(self.latent_channel, DiscreteLatents) else None
        return EncodedLatents(vectors, vectors.square().sum((1, 2)), codes)

    def code_vectors(self, codes):
        return self.table[codes]

    def denoise(self, input_ids, latents=None, logits_mask=None, latent_vectors=None, **options):
        self.calls.append({"tokens": input_ids, "latents": latents, "vectors": latent_vectors, **options})
        read = latents if latent_vectors is None else latent_vectors
        logits = read.sum((1, 2))[:, None, None].expand(-1, input_ids.shape[1], 6) * torch.arange(6)
        prediction = torch.zeros(*latents.shape, K) if latents.ndim == 2 else torch.zeros_like(latents)
        return LaddOutput(logits=logits[logits_mask], latent_prediction=prediction.requires_grad_())


def run(discrete=False, rows=ROWS, **options):
    """The call of the denoiser in one draw of the loss, the loss, and the clean latents' table."""
    stub = Stub(discrete)
    tokens = torch.randint(0, 5, (rows, LENGTH), generator=torch.Generator().manual_seed(1))
    objective = TrainingObjective(**{"time_distribution": "tokens", "latent_loss_weight": 0.0, **options})
    noise = TrainingNoise(0, torch.arange(rows))
    loss = training_loss(stub, tokens, torch.ones_like(tokens, dtype=torch.bool), None, objective, noise)
    return stub, stub.calls[0], loss


def within(share, expected, count):
    return abs(float(share) - expected) <= 5 * math.sqrt(expected * (1 - expected) / count) + 1e-12


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_a_share_of_the_latents_is_hidden_each_by_itself(share):
    _, call, _ = run(latent_mask_share=share)
    hidden = (call["latents"] == 0).all(-1)
    assert within(hidden.double().mean(), share, ROWS * M)
    assert within(hidden.all(1).double().mean(), share**M, ROWS)
    _, call, _ = run(discrete=True, latent_mask_share=share)
    assert within((call["latents"] == K).double().mean(), share, ROWS * M)


@pytest.mark.parametrize("share", [0.25, 1.0])
def test_a_share_of_the_examples_has_noise_for_latents(share):
    _, plain, _ = run()
    _, call, _ = run(latent_replacement_share=share)
    replaced = (call["latents"] != plain["latents"]).all(-1).all(-1)
    kept = (call["latents"] == plain["latents"]).all(-1).all(-1)
    assert (replaced | kept).all() and within(replaced.double().mean(), share, ROWS)
    noise = call["latents"][replaced].detach()
    assert abs(float(noise.mean())) < 0.05 and abs(float(noise.std()) - 1) < 0.05
    assert torch.equal(call["latent_timesteps"], plain["latent_timesteps"]), "the network is not told"


def test_visible_codes_are_replaced_by_even_draws_with_their_own_vectors():
    stub, call, _ = run(discrete=True, latent_replacement_share=1.0)
    counts = call["latents"].flatten().bincount(minlength=K).double() / (ROWS * M)
    assert len(counts) == K and all(within(one, 1 / K, ROWS * M) for one in counts)
    torch.testing.assert_close(call["vectors"], stub.table[call["latents"]])
    _, call, _ = run(discrete=True, latent_replacement_share=1.0, latent_noise_time=1.0)
    assert (call["latents"] == K).any(), "masked codes stay masked"


def test_the_clean_latents_of_a_consistency_teacher_are_the_texts_own():
    options = {"latent_replacement_share": 1.0, "consistency_weight": 1.0, "consistency_clean_latents": True}
    stub, student, _ = run(discrete=True, **options)
    teacher = stub.calls[1]
    assert not torch.equal(student["vectors"], stub.clean), "tokens see the replaced ones"
    assert torch.equal(teacher["vectors"], stub.clean)
    assert torch.equal(stub.table[teacher["latents"]], stub.clean)


def test_an_example_is_hidden_or_replaced_never_both():
    _, plain, _ = run()
    _, call, _ = run(latent_mask_share=0.5, latent_replacement_share=0.5)
    replaced = (call["latents"] != plain["latents"]) & (call["latents"] != 0)
    hidden = (call["latents"] == 0).all(-1).any(1)
    assert not (replaced.all(-1).any(1) & hidden).any() and hidden.any() and replaced.any()


@pytest.mark.parametrize("discrete", [False, True])
def test_times_of_resting_latents_are_drawn_evenly_up_to_the_largest_and_told(discrete):
    stub, call, _ = run(discrete, latent_noise_time=0.4)
    times = call["latent_timesteps"]
    assert float(times.max()) <= 0.4 and abs(float(times.mean()) - 0.2) < 0.01
    if discrete:
        assert within((call["latents"] == K).double().mean(), 0.2, ROWS * M)
        return
    schedule, at = stub.latent_channel.schedule, times[:, None, None]
    noise = ((call["latents"] - schedule.signal(at) * stub.clean) / schedule.noise(at)).detach()
    assert abs(float(noise.mean())) < 0.05 and abs(float(noise.std()) - 1) < 0.05, "the noise of that time"


def test_only_examples_in_which_the_latents_rest_are_changed():
    options = {"time_distribution": "sequential", "latent_loss_weight": 1.0}
    _, plain, before = run(**options)
    _, call, after = run(latent_mask_share=1.0, latent_noise_time=0.5, **options)
    rests = plain["latent_timesteps"] == 0
    assert within(rests.double().mean(), 0.5, ROWS)
    assert torch.equal(call["latents"][~rests], plain["latents"][~rests]) and not call["latents"][rests].any()
    assert torch.equal(call["latent_timesteps"][~rests], plain["latent_timesteps"][~rests])
    assert torch.equal(before.parts["latent_loss"], after.parts["latent_loss"])


@pytest.mark.parametrize(
    "options", [{}, {"latent_mask_share": 0.6}, {"latent_replacement_share": 0.7}, {"latent_noise_time": 0.3}], ids=str
)
def test_tokens_and_other_draws_stay_as_they_are_and_rows_do_not_depend_on_the_batch(options):
    _, plain, _ = run(latent_dropout=0.2)
    _, call, _ = run(latent_dropout=0.2, **options)
    assert torch.equal(call["tokens"], plain["tokens"])
    dropped = plain["latent_timesteps"] == 1
    assert dropped.any() and torch.equal(call["latents"][dropped], plain["latents"][dropped])
    _, few, _ = run(rows=7, latent_dropout=0.2, **options)
    assert torch.equal(few["latents"], call["latents"][:7])


@pytest.mark.parametrize("discrete", [False, True])
def test_the_encoder_learns_from_the_latents_that_are_seen_alone(discrete):
    for options, learns in (
        ({}, True),
        ({"latent_mask_share": 1.0}, False),
        ({"latent_replacement_share": 1.0}, False),
    ):
        stub, _, loss = run(discrete, rows=20, **options)
        if discrete and "latent_mask_share" in options:
            continue  # the vectors of masked codes are left out by the model itself
        loss.total.backward()
        assert (stub.table.grad is not None and bool(stub.table.grad.any())) == learns


# --- noise on the encoder's input ---


def test_noise_on_features_is_relative_to_each_and_cannot_be_outgrown():
    features = torch.randn(4, 500, 64, generator=torch.Generator().manual_seed(0)).requires_grad_()
    random = lambda: RowGenerator.from_seed(0, torch.arange(4))  # noqa: E731
    noise = (with_noise(features, 0.5, random()) - features).detach()
    scale = features.detach().square().mean(-1, keepdim=True).sqrt()
    assert abs(float((noise / scale).std()) - 0.5) < 0.01
    torch.testing.assert_close(with_noise(7 * features, 0.5, random()), 7 * with_noise(features, 0.5, random()))
    (gradient,) = torch.autograd.grad(with_noise(features, 0.5, random()).sum(), features)
    assert torch.equal(gradient, torch.ones_like(gradient))
    assert with_noise(features, 0.0, None) is features
    with pytest.raises(ValueError, match="no randomness to draw it from"):
        with_noise(features, 0.5, None)


def test_it_is_asked_of_the_encoder_where_it_is_set_alone():
    assert run()[0].noise is None and run(encoder_noise=0.5)[0].noise == 0.5
    plain, noisy = run(rows=5)[1], run(rows=5, encoder_noise=0.5)[1]
    assert torch.equal(plain["tokens"], noisy["tokens"])


@pytest.mark.parametrize("kind", ["continuous", "vector"])
def test_a_models_encoder_reads_noisy_embeddings_and_learns(kind, stirred_model):
    model = stirred_model(kind).train()
    tokens = torch.randint(1, 10, (3, 12), generator=torch.Generator().manual_seed(0))
    random = lambda: RowGenerator.from_seed(0, torch.arange(3))  # noqa: E731
    plain, same, noisy = (model.encode(tokens, None, random(), False, feature_noise=x) for x in (0.0, 0.0, 0.7))
    found = [one.vectors if one.unquantized is None else one.unquantized for one in (plain, same, noisy)]
    assert torch.equal(found[0], found[1]) and not torch.allclose(found[0], found[2])
    objective = TrainingObjective(
        time_distribution="tokens", encoder_noise=0.7, latent_noise_time=0.3, latent_mask_share=0.3,
        latent_replacement_share=0.3, latent_loss_weight=0.0,
    )  # fmt: skip
    loss = model(tokens, labels=tokens, objective=objective, noise=TrainingNoise(0, torch.arange(3))).loss
    loss.backward()
    assert loss.isfinite() and model.encoder.embed_tokens.weight.grad.abs().sum() > 0


# --- what does nothing ---


@pytest.mark.parametrize("name", ["latent_noise_time", "latent_mask_share", "latent_replacement_share"])
def test_where_latents_always_move_they_are_refused(name):
    for distribution in ("joint", "independent"):
        with pytest.raises(ValueError, match=rf"`{name}` is 0.5, .* in which only tokens move, .* '{distribution}'"):
            TrainingObjective(distribution, **{name: 0.5}).check_fits("continuous")
    for distribution in ("tokens", "sequential", "joint+sequential", [[1, 1], [1, 0.3], [0, 0.3], [0, 0]]):
        TrainingObjective(distribution, **{name: 0.5}).check_fits("discrete")


@pytest.mark.parametrize(
    "name", ["latent_noise_time", "latent_mask_share", "latent_replacement_share", "encoder_noise"]
)
def test_without_latents_they_are_refused_and_so_are_numbers_out_of_range(name):
    with pytest.raises(ValueError, match=rf"`{name}` is 0.5, which does nothing .* 'none'"):
        TrainingObjective("tokens", **{name: 0.5}).check_fits("none")
    for wrong in (-0.1, math.nan, "much"):
        with pytest.raises(ValueError, match=name):
            TrainingObjective(**{name: wrong})
