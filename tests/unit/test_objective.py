"""One draw of the loss: the right tokens are hidden, the right terms are summed, the expectation is the method's."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from helpers.exact_denoiser import SEQUENCES, ExactDenoiser, K, M, S, V, random_table
from torch.nn import functional as F

from ladd_hf import RowGenerator, TrainingNoise, TrainingObjective
from ladd_hf.diffusion.channels import EncodedLatents
from ladd_hf.diffusion.continuous_latents import ContinuousLatents
from ladd_hf.diffusion.masked_channels import MaskedChannel
from ladd_hf.diffusion.nelbo import nelbo
from ladd_hf.diffusion.noise_schedules import gaussian_schedule, mask_schedule
from ladd_hf.diffusion.time_sampling import draw_times
from ladd_hf.diffusion.training_loss import training_loss
from ladd_hf.models.modeling_ladd import LaddOutput

TABLE = random_table()
DISTRIBUTIONS = ("joint", "sequential", "independent", "tokens")


class LinearDenoiser:
    """A stub of five words and a mask, with a continuous latent: an average makes it, linear maps read it."""

    def __init__(self, size=4, predicts_noise=False):
        generator = torch.Generator().manual_seed(0)
        self.token_channel = MaskedChannel(mask_schedule("linear"), 5)
        self.latent_channel = ContinuousLatents(gaussian_schedule("sqrt"), predicts_noise, size)
        self.encoder = torch.randn(6, size, generator=generator).requires_grad_()
        self.by_token = torch.randn(6, 6, generator=generator).requires_grad_()
        self.by_latent = torch.randn(size, 6, generator=generator).requires_grad_()
        self.prediction = torch.zeros(1, 1, size).requires_grad_()
        self.calls, self.encoded = [], []

    def encode(self, tokens, attention_mask, random=None, update_codebook=True):
        self.encoded.append(tokens)
        vectors = self.encoder[tokens].mean(1, keepdim=True)  # (B, 1, D)
        return EncodedLatents(vectors, 0.5 * vectors.square().sum((1, 2)))

    def denoise(self, input_ids, latents=None, logits_mask=None, **kwargs):
        self.calls.append({"input_ids": input_ids, "latents": latents, "logits_mask": logits_mask, **kwargs})
        context = self.by_token[input_ids].mean(1, keepdim=True) + latents @ self.by_latent  # (B, 1, V)
        logits = context.expand(-1, input_ids.shape[1], -1).index_fill(-1, torch.tensor([5]), -torch.inf)
        return LaddOutput(logits=logits[logits_mask], latent_prediction=self.prediction.expand_as(latents))


def loss_of(denoiser, objective, tokens=SEQUENCES, maskable=None, seed=0, first=0):
    maskable = torch.ones_like(tokens, dtype=torch.bool) if maskable is None else maskable
    noise = TrainingNoise(seed, torch.arange(first, first + len(tokens)))
    return training_loss(denoiser, tokens, maskable, None, objective, noise)


def texts(rows=64, length=5):
    return torch.randint(0, 5, (rows, length), generator=torch.Generator().manual_seed(1))


# --- expectations ---


def integration_points(distribution, count=24):
    """t_x, t_y, their rates and the weight of each point, for an integral over what a distribution draws."""
    nodes, weights = np.polynomial.legendre.leggauss(count)
    nodes, weights = (nodes + 1) / 2, weights / 2
    one, zero = np.ones(count), np.zeros(count)
    if distribution == "joint":
        columns = nodes, nodes, one, one, weights
    elif distribution == "tokens":
        columns = nodes, zero, one, zero, weights
    elif distribution == "sequential":
        tokens, codes = (nodes, zero, 2 * one, zero, weights / 2), (one, nodes, zero, 2 * one, weights / 2)
        columns = tuple(map(np.concatenate, zip(tokens, codes, strict=True)))
    else:
        t_x, t_y = np.meshgrid(nodes, nodes)
        flat = np.ones(count**2)
        columns = t_x.ravel(), t_y.ravel(), flat, flat, np.outer(weights, weights).ravel()
    return list(zip(*columns, strict=True))


def expected_parts(denoiser, distribution, weighting):
    """Token and code loss of an average sequence, by summing over all patterns of masks and integrating over time."""
    tokens = codes = 0.0
    for hidden in itertools.product((False, True), repeat=S + M):
        token_mask, code_mask = (torch.tensor(part).expand(V**S, -1) for part in (hidden[:S], hidden[S:]))
        output = denoiser.denoise(
            SEQUENCES.masked_fill(token_mask, V),
            denoiser.codes.masked_fill(code_mask, K),
            logits_mask=torch.ones_like(token_mask),
        )
        token_loss = F.cross_entropy(output.logits, SEQUENCES.flatten(), reduction="none").view_as(SEQUENCES)
        code_loss = F.cross_entropy(output.latent_prediction.flatten(0, 1), denoiser.codes.flatten(), reduction="none")
        token_loss = float((token_loss * token_mask).mean())  # over the sequence, and over sequences
        code_loss = float((code_loss.view_as(denoiser.codes) * code_mask).mean())
        masked_tokens, masked_codes = sum(hidden[:S]), sum(hidden[S:])
        for t_x, t_y, rate_x, rate_y, weight in integration_points(distribution):
            share = t_x**masked_tokens * (1 - t_x) ** (S - masked_tokens)
            share *= t_y ** (2 * masked_codes) * (1 - t_y**2) ** (M - masked_codes)
            if rate_x:
                tokens += weight * share * token_loss * (rate_x / t_x if weighting == "elbo" else 1)
            if rate_y:
                codes += weight * share * code_loss * (rate_y * 2 / t_y if weighting == "elbo" else 1)
    return {"token_loss": tokens, "latent_loss": codes}


def drawn_parts(denoiser, draws=40, rows=10, **options):
    """Mean and standard error of each part of the loss, from draws of different seeds."""
    tokens, objective = SEQUENCES.repeat(rows, 1), TrainingObjective(**options)
    parts = [loss_of(denoiser, objective, tokens, seed=seed).parts for seed in range(draws)]
    values = {name: torch.stack([part[name].double() for part in parts]) for name in ("token_loss", "latent_loss")}
    return {name: (float(v.mean()), float(v.std()) / math.sqrt(draws)) for name, v in values.items()}


@pytest.mark.parametrize("weighting", ["plain", "elbo"])
@pytest.mark.parametrize("distribution", DISTRIBUTIONS)
def test_the_expected_loss_is_the_integral_over_times_and_masks(distribution, weighting):
    denoiser = ExactDenoiser(TABLE)
    expected = expected_parts(denoiser, distribution, weighting)
    drawn = drawn_parts(denoiser, time_distribution=distribution, token_weighting=weighting, latent_weighting=weighting)
    for name, (mean, error) in drawn.items():
        assert abs(mean - expected[name]) <= 5 * error
        assert error < 0.02
    assert (expected["latent_loss"] == 0) == (distribution == "tokens")


def test_distributions_that_share_the_examples_have_the_mean_of_their_losses():
    denoiser = ExactDenoiser(TABLE)
    both = [expected_parts(denoiser, distribution, "elbo") for distribution in ("sequential", "joint")]
    weights = {"token_weighting": "elbo", "latent_weighting": "elbo"}
    drawn = drawn_parts(denoiser, time_distribution="sequential+joint", **weights)
    for name, (mean, error) in drawn.items():
        assert abs(mean - (both[0][name] + both[1][name]) / 2) <= 5 * error


@pytest.mark.parametrize("time_shift", [1.0, 3.0])
@pytest.mark.parametrize("path", ["joint", "sequential"])
def test_the_loss_with_the_bounds_weights_is_the_bound(path, time_shift):
    denoiser = ExactDenoiser(TABLE)
    weights = {"token_weighting": "elbo", "latent_weighting": "elbo"}
    drawn = drawn_parts(denoiser, time_distribution=path, time_shift=time_shift, **weights)
    tokens, everything = SEQUENCES.repeat(200, 1), torch.ones(200 * V**S, S, dtype=torch.bool)
    random = RowGenerator.from_seed(0, torch.arange(len(tokens)))
    bound = nelbo(denoiser, tokens, everything, None, path, 8, random)
    for name, size in (("token", S), ("latent", M)):
        mean, error = drawn[f"{name}_loss"]
        nats = getattr(bound, f"{name}_nats")
        spread = math.hypot(size * error, float(nats.std()) / math.sqrt(len(nats)))
        assert abs(size * mean - float(nats.mean())) < 5 * spread, "the loss is an average over the sequence"
    total = S * drawn["token_loss"][0] + M * drawn["latent_loss"][0]
    error = math.hypot(S * drawn["token_loss"][1], M * drawn["latent_loss"][1])
    assert abs(total + float(TABLE.log().mean())) < 5 * error, "and the denoiser is exact"


def test_the_total_is_the_weighted_sum_of_the_terms():
    denoiser = LinearDenoiser()
    objective = TrainingObjective(
        token_loss_weight=0.7, latent_loss_weight=0.3, latent_kl_weight=0.2, contrastive_weight=0.5
    )
    loss = loss_of(denoiser, objective, texts())
    weights = {"token_loss": 0.7, "latent_loss": 0.3, "latent_kl_loss": 0.2, "contrastive_loss": 0.5}
    assert loss.parts.keys() == weights.keys()
    torch.testing.assert_close(loss.total, sum(weight * loss.parts[name] for name, weight in weights.items()))
    assert loss.total.requires_grad and not any(part.requires_grad for part in loss.parts.values())
    assert loss_of(denoiser, TrainingObjective(), texts()).parts.keys() == {"token_loss", "latent_loss"}


def test_the_codes_a_batch_uses_are_counted_beside_the_loss():
    denoiser = ExactDenoiser(TABLE)
    statistics = loss_of(denoiser, TrainingObjective()).statistics
    assert statistics["codes_in_batch"] == denoiser.codes.unique().numel() == 3
    assert loss_of(denoiser, TrainingObjective(), SEQUENCES[:1]).statistics["codes_in_batch"] == 1


def test_without_latents_there_is_a_token_loss_and_nothing_else():
    denoiser = ExactDenoiser(TABLE, with_codes=False)
    loss = loss_of(denoiser, TrainingObjective(latent_dropout=0.5, contrastive_weight=1.0))
    assert loss.parts.keys() == {"token_loss"} and torch.equal(loss.total, loss.parts["token_loss"])
    (call,) = denoiser.calls
    assert call["latents"] is None and call.get("latent_timesteps") is None and not denoiser.encoded


# --- what is noised ---


@pytest.mark.parametrize("distribution", DISTRIBUTIONS)
def test_tokens_are_masked_or_as_they_were_and_logits_are_asked_for_where_masked(distribution):
    denoiser, tokens = LinearDenoiser(), texts(256)
    maskable = torch.rand(tokens.shape, generator=torch.Generator().manual_seed(2)) < 0.6
    loss_of(denoiser, TrainingObjective(time_distribution=distribution), tokens, maskable)
    (call,) = denoiser.calls
    masked = call["input_ids"] == 5
    assert torch.equal(call["input_ids"][~masked], tokens[~masked])
    assert not masked[~maskable].any() and masked.any()
    assert torch.equal(call["logits_mask"], masked)


def test_each_token_is_masked_with_probability_one_minus_alpha():
    denoiser, tokens = LinearDenoiser(), texts(20_000)
    loss_of(denoiser, TrainingObjective(time_distribution="independent"), tokens)
    (call,) = denoiser.calls
    masked, t = (call["input_ids"] == 5).double(), call["token_timesteps"][:, None]
    error = 5 * float((t * (1 - t)).mean().sqrt()) / math.sqrt(masked.numel())
    assert abs(float((masked - t).mean())) < error
    assert abs(float(((masked - t) * t).mean())) < error


@pytest.mark.parametrize("share", [0.0, 0.4, 1.0])
def test_a_share_of_the_examples_is_fully_masked(share):
    denoiser, tokens = LinearDenoiser(), texts(2000)
    loss_of(denoiser, TrainingObjective(time_distribution="tokens", fully_masked_share=share), tokens)
    (call,) = denoiser.calls
    full = call["token_timesteps"] == 1
    assert (call["input_ids"][full] == 5).all()
    assert abs(full.double().mean() - share) <= 5 * math.sqrt(share * (1 - share) / 2000)


def test_fully_masked_texts_leave_prompts_visible_and_are_scored_where_only_latents_move():
    denoiser, tokens = LinearDenoiser(), texts()
    maskable = torch.tensor([False, False, True, True, True]).expand_as(tokens)
    objective = TrainingObjective(time_distribution="sequential", fully_masked_share=1.0)
    loss = loss_of(denoiser, objective, tokens, maskable)
    (call,) = denoiser.calls
    assert torch.equal(call["input_ids"][:, :2], tokens[:, :2]) and (call["input_ids"][:, 2:] == 5).all()
    logits = denoiser.denoise(**call).logits
    torch.testing.assert_close(loss.parts["token_loss"], F.cross_entropy(logits, tokens[maskable]))


def test_times_are_given_to_the_denoiser_and_clean_latents_come_clean():
    denoiser = ExactDenoiser(TABLE)
    loss_of(denoiser, TrainingObjective(time_distribution="tokens"))
    (call,) = denoiser.calls
    assert not call["latent_timesteps"].any() and torch.equal(call["latents"], denoiser.codes)
    loss_of(denoiser, TrainingObjective(time_distribution="joint"))
    assert torch.equal(denoiser.calls[-1]["latent_timesteps"], denoiser.calls[-1]["token_timesteps"])


# --- latent dropout ---


@pytest.mark.parametrize("kind", ["codes", "continuous"])
def test_dropped_latents_say_nothing_and_cost_nothing(kind):
    denoiser = ExactDenoiser(TABLE) if kind == "codes" else LinearDenoiser()
    tokens = SEQUENCES if kind == "codes" else texts()
    loss = loss_of(denoiser, TrainingObjective(latent_dropout=1.0), tokens)
    (call,) = denoiser.calls
    nothing = K if kind == "codes" else 0
    assert (call["latents"] == nothing).all() and (call["latent_timesteps"] == 1).all()
    assert loss.parts["latent_loss"] == 0 and loss.parts["token_loss"] > 0


def test_some_latents_are_dropped_and_the_others_pay_as_if_they_were_alone():
    denoiser, tokens = LinearDenoiser(), texts(3000)
    objective = TrainingObjective(latent_dropout=0.15, time_distribution="independent")
    loss = loss_of(denoiser, objective, tokens)
    (call,) = denoiser.calls
    dropped = (call["latents"] == 0).all(2).all(1)
    assert abs(dropped.double().mean() - 0.15) < 5 * math.sqrt(0.15 * 0.85 / 3000)
    assert torch.equal(dropped, call["latent_timesteps"] == 1)
    clean = denoiser.encode(tokens, None).vectors
    torch.testing.assert_close(loss.parts["latent_loss"], clean[~dropped].detach().square().mean())


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_a_share_of_the_examples_hears_its_codes_unrounded(share):
    class Rounding(ExactDenoiser):
        def encode(self, tokens, attention_mask, random=None, update_codebook=True):
            encoded = super().encode(tokens, attention_mask, random)
            encoded.unquantized = encoded.vectors + 0.25
            return encoded

    denoiser, tokens = Rounding(TABLE), SEQUENCES.repeat(100, 1)
    loss_of(denoiser, TrainingObjective(quantizer_dropout=share), tokens)
    (call,) = denoiser.calls
    shift = call["latent_vectors"] - denoiser._codes(tokens)[..., None]
    unrounded = shift.flatten(1).amax(1) > 0
    torch.testing.assert_close(shift, torch.where(unrounded, 0.25, 0.0)[:, None, None].expand_as(shift))
    assert abs(unrounded.double().mean() - share) <= 5 * math.sqrt(share * (1 - share) / len(tokens))
    assert (call["latents"] == denoiser._codes(tokens))[call["latents"] != K].all(), "codes are as they were"


# --- encoder corruption ---


@pytest.mark.parametrize("upper", [0.0, 0.5, 1.0])
def test_only_tokens_that_are_masked_are_hidden_from_the_encoder(upper):
    denoiser, tokens = LinearDenoiser(), texts(4000)
    loss_of(denoiser, TrainingObjective(encoder_corruption=upper, fully_masked_share=0.5), tokens)
    (call,), (seen,) = denoiser.calls, denoiser.encoded
    masked, hidden = call["input_ids"] == 5, seen == 5
    assert torch.equal(seen[~hidden], tokens[~hidden]), "what is not hidden is clean"
    assert not hidden[~masked].any()
    shares = (hidden.sum(1) / masked.sum(1))[masked.all(1)]  # of rows where all five could be hidden
    error = 5 * math.sqrt((upper**2 / 12 + upper / 4 / 5) / len(shares))
    assert abs(float(shares.mean()) - upper / 2) <= error, "p is uniform up to it"
    if upper == 1:
        assert float(shares.var()) > 1 / 12, "and drawn for each example, not for each token"


@pytest.mark.parametrize("share", [0.0, 0.25, 1.0])
def test_a_share_of_the_tokens_is_hidden_from_the_encoder_be_they_masked_or_not(share):
    denoiser, tokens = LinearDenoiser(), texts(4000)
    prompts = torch.ones_like(tokens, dtype=torch.bool)
    prompts[:, 0] = False
    loss_of(denoiser, TrainingObjective(encoder_mask_ratio=share), tokens, maskable=prompts)
    (call,), (seen,) = denoiser.calls, denoiser.encoded
    hidden, masked = seen == 5, call["input_ids"] == 5
    assert torch.equal(seen[~hidden], tokens[~hidden]) and not hidden[:, 0].any()
    for of_some in (masked, ~masked):
        some = hidden[:, 1:][of_some[:, 1:]].double()
        assert abs(float(some.mean()) - share) <= 5 * math.sqrt(share * (1 - share) / len(some))


def test_hiding_nothing_changes_no_other_draw():
    calls = []
    for options in ({}, {"encoder_mask_ratio": 0.5}):
        denoiser = LinearDenoiser()
        loss_of(denoiser, TrainingObjective(encoder_corruption=0.9, **options), texts())
        calls.append((denoiser.calls[0]["input_ids"], denoiser.encoded[0]))
    (tokens, seen), (others, seen_less) = calls
    assert torch.equal(tokens, others)
    assert ((seen_less == 5) | (seen != 5)).all() and (seen_less == 5).sum() > (seen == 5).sum()


# --- options that keep latents informative ---


def test_matched_views_have_a_lower_contrastive_loss_than_latents_that_are_all_alike():
    denoiser, tokens = LinearDenoiser(size=16), torch.arange(5)[:, None].expand(5, 8)  # five texts, each of one word
    objective = TrainingObjective(contrastive_weight=1.0, contrastive_mask_ratio=0.2)
    matched = loss_of(denoiser, objective, tokens).parts["contrastive_loss"]
    with torch.no_grad():
        denoiser.encoder.copy_(denoiser.encoder[:1].expand_as(denoiser.encoder))
    alike = loss_of(denoiser, objective, tokens).parts["contrastive_loss"]
    assert matched < 0.1
    torch.testing.assert_close(alike, torch.tensor(math.log(5)))


def test_the_contrastive_loss_hides_its_share_of_two_views_and_spares_what_is_no_text():
    denoiser, tokens = LinearDenoiser(), texts(2000)
    maskable = torch.tensor([True, True, True, True, False]).expand_as(tokens)
    objective = TrainingObjective(contrastive_weight=1.0, contrastive_mask_ratio=0.3)
    loss = loss_of(denoiser, objective, tokens, maskable)
    _, *views = denoiser.encoded
    assert len(views) == 2 and not torch.equal(*views)
    for view in views:
        hidden = view == 5
        assert torch.equal(view[~hidden], tokens[~hidden]) and not hidden[~maskable].any()
        assert abs(hidden[maskable].double().mean() - 0.3) < 5 * math.sqrt(0.21 / 8000)
    pooled = [F.normalize(denoiser.encode(view, None).vectors.mean(1), dim=-1) for view in views]
    similarity = pooled[0] @ pooled[1].T / 0.1
    own = torch.arange(2000)
    expected = (F.cross_entropy(similarity, own) + F.cross_entropy(similarity.T, own)) / 2
    torch.testing.assert_close(loss.parts["contrastive_loss"], expected.detach())


def test_the_conditional_independence_loss_is_the_divergence_from_the_informed_to_the_blind_prediction():
    denoiser, tokens = LinearDenoiser(), texts()
    loss = loss_of(denoiser, TrainingObjective(conditional_independence_weight=1.0), tokens)
    informed, blind = denoiser.calls
    assert (blind["input_ids"] == 5).all() and (blind["token_timesteps"] == 1).all()
    assert torch.equal(blind["latents"], informed["latents"])
    assert torch.equal(blind["logits_mask"], informed["logits_mask"])
    p, q = (denoiser.denoise(**call).logits[:, :5].softmax(-1) for call in (informed, blind))
    expected = (p * (p / q).log()).sum() / tokens.numel()
    assert expected > 0.01
    torch.testing.assert_close(loss.parts["conditional_independence_loss"], expected.detach())


def test_the_conditional_independence_loss_is_zero_where_visible_tokens_tell_nothing():
    denoiser = LinearDenoiser()
    with torch.no_grad():
        denoiser.by_token.zero_()
    loss = loss_of(denoiser, TrainingObjective(conditional_independence_weight=1.0), texts())
    torch.testing.assert_close(loss.parts["conditional_independence_loss"], torch.tensor(0.0), atol=1e-6, rtol=0)


def test_the_conditional_independence_loss_teaches_the_blind_prediction_only():
    informed, blind = torch.randn(2, 6, generator=torch.Generator().manual_seed(0)).requires_grad_().unbind()

    class TwoFaced(LinearDenoiser):
        def denoise(self, input_ids, latents=None, logits_mask=None, **kwargs):
            output = super().denoise(input_ids, latents, logits_mask, **kwargs)
            said = informed if len(self.calls) == 1 else blind
            output.logits = said.expand(int(logits_mask.sum()), -1)
            return output

    objective = TrainingObjective(conditional_independence_weight=1.0, token_loss_weight=0.0, latent_loss_weight=0.0)
    total = loss_of(TwoFaced(), objective, texts()).total
    first, second = torch.autograd.grad(total, (informed, blind), allow_unused=True)
    assert first is None and second[:5].abs().min() > 0


def test_the_latent_loss_reaches_the_encoder_through_the_prediction_only():
    """The target, clean latents or noise, is held fixed: an encoder must not please the loss by moving it."""
    for predicts_noise in (False, True):
        denoiser = LinearDenoiser(predicts_noise=predicts_noise)
        total = loss_of(denoiser, TrainingObjective(token_loss_weight=0.0), texts()).total
        prediction, encoder = torch.autograd.grad(total, (denoiser.prediction, denoiser.encoder), allow_unused=True)
        assert prediction.any()
        assert encoder is None or not encoder.any(), f"predicts_noise={predicts_noise}"


@pytest.mark.parametrize("distribution", DISTRIBUTIONS)
def test_a_constant_prediction_of_vectors_pays_its_squared_error_where_latents_move(distribution):
    denoiser, tokens = LinearDenoiser(), texts(512)
    loss = loss_of(denoiser, TrainingObjective(time_distribution=distribution), tokens)
    squared = denoiser.encode(tokens, None).vectors.detach().square().mean((1, 2))
    times = draw_times(distribution, TrainingNoise(0, torch.arange(512)).positions(), 1e-4)
    moving = times.latent_rates > 0
    torch.testing.assert_close(loss.parts["latent_loss"], (squared * moving).sum() / 512)


# --- independence of the batch, and errors ---


def test_the_loss_of_a_batch_is_the_mean_of_its_parts_losses():
    denoiser, tokens = LinearDenoiser(), texts(64)
    objective = TrainingObjective(encoder_corruption=0.5, conditional_independence_weight=0.5, latent_kl_weight=0.1)
    whole = loss_of(denoiser, objective, tokens)
    parts = [loss_of(denoiser, objective, tokens[i : i + 16], first=i) for i in range(0, 64, 16)]
    for name, value in whole.parts.items():
        torch.testing.assert_close(torch.stack([part.parts[name] for part in parts]).mean(), value)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"time_distribution": "diagonal"}, "`time_distribution` 'diagonal' is unknown; give one of"),
        ({"time_distribution": "joint+diagonal"}, "'joint\\+diagonal' is unknown"),
        ({"adaptive_times": "false"}, "`adaptive_times` is 'false'; give True or False"),
        ({"consistency_clean_latents": 1}, "`consistency_clean_latents` is 1; give True or False"),
        ({"token_weighting": "bound"}, "`token_weighting` 'bound' is unknown"),
        ({"latent_weighting": None}, "`latent_weighting` None is unknown"),
        ({"fully_masked_share": 1.5}, "`fully_masked_share` is 1.5; give a share from 0 to 1"),
        ({"latent_dropout": -0.1}, "`latent_dropout` is -0.1"),
        ({"quantizer_dropout": 1.1}, "`quantizer_dropout` is 1.1"),
        ({"encoder_corruption": 2}, "`encoder_corruption` is 2"),
        ({"encoder_mask_ratio": -1}, "`encoder_mask_ratio` is -1"),
        ({"contrastive_mask_ratio": math.nan}, "`contrastive_mask_ratio` is nan"),
        ({"min_time": -0.1}, "`min_time` is -0.1"),
        ({"min_time": 1.0}, "`min_time` is 1.0"),
        ({"time_shift": 0.0}, "`time_shift` is 0.0"),
        ({"contrastive_temperature": 0.0}, "`contrastive_temperature` is 0.0"),
    ],
)
def test_options_that_cannot_work_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        TrainingObjective(**options)
