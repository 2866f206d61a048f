"""The bound is the negative log-likelihood of what the denoiser is exact for, along every path, and never below it."""

from __future__ import annotations

import math

import pytest
import torch
from helpers.exact_denoiser import SEQUENCES, ExactDenoiser, K, M, S, V, random_table

from ladd_hf import RowGenerator, TimePath
from ladd_hf.diffusion.nelbo import nelbo
from ladd_hf.diffusion.noise_schedules import MASK_SCHEDULES
from ladd_hf.models.modeling_ladd import LaddOutput

STAIRS = TimePath(((1, 1), (1, 0.4), (0.3, 0.4), (0.3, 0), (0, 0)))
PATHS = {"joint": "joint", "sequential": "sequential", "stairs": STAIRS}


class ForgetfulDenoiser(ExactDenoiser):
    """Knows the tokens' marginals, and does not look at what is visible."""

    def denoise(self, input_ids, latents=None, logits_mask=None, **kwargs):
        return super().denoise(torch.full_like(input_ids, V), None, logits_mask)


class CluelessDenoiser(ExactDenoiser):
    """Says the same of every token and of every code."""

    def denoise(self, input_ids, latents=None, logits_mask=None, **kwargs):
        logits = torch.zeros(*input_ids.shape, V + 1).index_fill(-1, torch.tensor([V]), -torch.inf)
        prediction = None if latents is None else torch.zeros(*latents.shape, K)
        return LaddOutput(logits=logits[logits_mask], latent_prediction=prediction)


def independent_table():
    marginals = (1.5 * torch.randn(S, V, generator=torch.Generator().manual_seed(0)).double()).softmax(-1)
    return torch.stack([marginals[i, SEQUENCES[:, i]] for i in range(S)]).prod(0)


def bound(denoiser, path="joint", repeats=300, num_samples=16, sequences=SEQUENCES, seed=0):
    """The bound's parts for each sequence: estimate and standard error, from independent repeats."""
    tokens = sequences.repeat(repeats, 1)
    random = RowGenerator.from_seed(seed, torch.arange(len(tokens)))
    result = nelbo(denoiser, tokens, torch.ones_like(tokens, dtype=torch.bool), None, path, num_samples, random)
    parts = {}
    for name in ("token_nats", "latent_nats", "total_nats"):
        draws = getattr(result, name).view(repeats, -1)
        parts[name] = draws.mean(0), draws.std(0) / math.sqrt(repeats)
    return parts


def assert_within_error(estimate, expected, errors=5):
    mean, error = estimate
    assert ((mean - expected).abs() <= errors * error + 1e-6).all(), (mean, expected, error)


# --- the bound and the likelihood ---


@pytest.mark.parametrize("table", [random_table, independent_table])
def test_the_bound_of_an_exact_denoiser_of_tokens_is_the_likelihood(table):
    denoiser = ExactDenoiser(table(), with_codes=False)
    parts = bound(denoiser)
    assert_within_error(parts["total_nats"], -denoiser.log_likelihood())
    assert not parts["latent_nats"][0].any()
    assert parts["total_nats"][1].median() < 0.15, "an error that would show a mistake"


@pytest.mark.parametrize("path", PATHS)
def test_the_bound_of_an_exact_joint_denoiser_is_the_likelihood_along_any_path(path):
    denoiser = ExactDenoiser(random_table(), with_codes=True)
    parts = bound(denoiser, PATHS[path])
    assert_within_error(parts["total_nats"], -denoiser.log_likelihood())
    assert parts["latent_nats"][0].min() > 0.01 and parts["total_nats"][1].median() < 0.15


def test_along_the_sequential_path_the_parts_are_codes_and_tokens_given_codes():
    denoiser = ExactDenoiser(random_table(), with_codes=True)
    parts = bound(denoiser, "sequential")
    codes = -denoiser.code_log_likelihood()
    assert_within_error(parts["latent_nats"], codes)
    assert_within_error(parts["token_nats"], -denoiser.log_likelihood() - codes)
    given = bound(denoiser, "tokens")
    assert_within_error(given["token_nats"], -denoiser.log_likelihood() - codes)
    assert not given["latent_nats"][0].any()


@pytest.mark.parametrize("schedule", [*sorted(MASK_SCHEDULES), {"name": "polynomial", "degree": 0.7}], ids=str)
def test_the_bound_does_not_depend_on_the_noise_schedules(schedule):
    denoiser = ExactDenoiser(random_table(), True, token_schedule=schedule, code_schedule=schedule)
    assert_within_error(bound(denoiser, "joint")["total_nats"], -denoiser.log_likelihood())


@pytest.mark.parametrize("path", ["joint", "sequential"])
def test_the_bound_is_never_below_the_entropy(path):
    table = random_table()
    entropy = -(table * table.log()).sum()
    rival = ExactDenoiser(random_table(0.5), with_codes=True)  # exact, for another table
    mean, error = bound(rival, path)["total_nats"]
    assert (table * mean).sum() > entropy + 5 * (table * error).square().sum().sqrt()
    cross_entropy = -(table * rival.log_likelihood()).sum()
    assert abs((table * mean).sum() - cross_entropy) < 5 * (table * error).square().sum().sqrt()


def test_who_ignores_what_is_visible_pays_the_total_correlation():
    table = random_table()
    mean, error = bound(ForgetfulDenoiser(table, with_codes=False))["token_nats"]
    marginals = torch.stack([torch.stack([table[SEQUENCES[:, i] == v].sum() for v in range(V)]) for i in range(S)])
    expected = -torch.stack([marginals[i, SEQUENCES[:, i]] for i in range(S)]).log().sum(0)
    assert_within_error((mean, error), expected)
    assert (table * mean).sum() > -(table * table.log()).sum() + 0.1


@pytest.mark.parametrize("path", PATHS)
def test_who_knows_nothing_pays_the_logarithm_of_the_alphabet_in_each_part(path):
    parts = bound(CluelessDenoiser(random_table(), with_codes=True), PATHS[path], sequences=SEQUENCES[:1], repeats=4000)
    assert_within_error(parts["token_nats"], S * math.log(V))
    assert_within_error(parts["latent_nats"], M * math.log(K))


# --- the estimate ---


def test_standard_errors_shrink_with_the_number_of_points_and_are_not_too_small():
    denoiser = ExactDenoiser(random_table(), with_codes=True)
    tokens = SEQUENCES.repeat(100, 1)
    everything = torch.ones_like(tokens, dtype=torch.bool)
    results = {}
    for points in (8, 128):
        random = RowGenerator.from_seed(0, torch.arange(len(tokens)))
        results[points] = nelbo(denoiser, tokens, everything, None, "sequential", points, random)
    for part in ("token", "latent"):
        few, many = (getattr(results[points], f"{part}_stderr").square().mean().sqrt() for points in (8, 128))
        assert few / many == pytest.approx(4, rel=0.2), "the square root of 128 / 8"
        estimates = getattr(results[128], f"{part}_nats").view(100, -1)
        assert estimates.var(0).mean().sqrt() < 1.1 * many, "evenly spread points err less than independent ones"


def test_a_single_point_has_no_standard_error_and_none_is_refused():
    denoiser = ExactDenoiser(random_table(), with_codes=True)
    everything = torch.ones_like(SEQUENCES, dtype=torch.bool)
    single = nelbo(denoiser, SEQUENCES, everything, num_samples=1)
    assert single.token_stderr.isnan().all() and single.token_nats.isfinite().all()
    with pytest.raises(ValueError, match="`num_samples` is 0; give at least 1"):
        nelbo(denoiser, SEQUENCES, everything, num_samples=0)
    with pytest.raises(ValueError, match="'diagonal' is unknown"):
        nelbo(denoiser, SEQUENCES, everything, path="diagonal")


@pytest.mark.parametrize("with_codes", [False, True])
def test_the_estimate_of_a_row_does_not_depend_on_its_batch(with_codes):
    denoiser = ExactDenoiser(random_table(), with_codes)
    everything = torch.ones_like(SEQUENCES, dtype=torch.bool)
    together = nelbo(denoiser, SEQUENCES, everything, random=RowGenerator.from_content(5, SEQUENCES))
    order = torch.randperm(len(SEQUENCES), generator=torch.Generator().manual_seed(0))
    for rows in (order, order[:7], order[20:21]):
        part = nelbo(denoiser, SEQUENCES[rows], everything[rows], random=RowGenerator.from_content(5, SEQUENCES[rows]))
        for name in ("token_nats", "latent_nats", "token_stderr"):
            torch.testing.assert_close(getattr(part, name), getattr(together, name)[rows])


def test_padding_is_neither_noised_nor_scored():
    padded = torch.cat([SEQUENCES, torch.zeros(len(SEQUENCES), 2, dtype=torch.long)], dim=1)
    maskable = torch.tensor([True] * S + [False] * 2).expand_as(padded)
    seen = []

    class Spy(ExactDenoiser):
        def denoise(self, input_ids, latents=None, logits_mask=None, attention_mask=None, **kwargs):
            seen.append((input_ids, logits_mask, attention_mask))
            return super().denoise(input_ids, latents, logits_mask)

    denoiser = Spy(random_table(), with_codes=False)
    tokens, rows = padded.repeat(300, 1), maskable.repeat(300, 1)
    random = RowGenerator.from_seed(0, torch.arange(len(tokens)))
    result = nelbo(denoiser, tokens, rows, rows.long(), num_samples=16, random=random)
    for noisy, scored, attention_mask in seen:
        assert not noisy[:, S:].any() and not scored[:, S:].any() and torch.equal(attention_mask, rows.long())
    assert (result.num_tokens == S).all()
    draws = result.token_nats.view(300, -1)
    assert_within_error((draws.mean(0), draws.std(0) / math.sqrt(300)), -denoiser.log_likelihood())


def test_the_denoiser_is_called_on_the_path_with_logits_where_they_are_scored():
    calls = []

    class Spy(ExactDenoiser):
        def denoise(self, input_ids, latents=None, logits_mask=None, **kwargs):
            calls.append((input_ids, latents, logits_mask, kwargs["token_timesteps"], kwargs["latent_timesteps"]))
            return super().denoise(input_ids, latents, logits_mask)

    everything = torch.ones_like(SEQUENCES, dtype=torch.bool)
    nelbo(Spy(random_table(), True), SEQUENCES, everything, None, "sequential", 6)
    assert len(calls) == 6, "one evaluation for each point"
    for noisy, latents, scored, t_x, t_y in calls:
        codes_move = t_y > 0
        assert (t_x[codes_move] == 1).all() and (noisy[codes_move] == V).all()
        assert (latents[~codes_move] != K).all()
        assert not scored[codes_move].any() and torch.equal(scored[~codes_move], noisy[~codes_move] == V)
    # Times are squares of evenly spread positions on each side.
    positions = torch.stack([torch.where(t_y > 0, 0.5 + t_y.sqrt() / 2, t_x.sqrt() / 2) for *_, t_x, t_y in calls])
    steps = positions[1:] - positions[:-1]
    torch.testing.assert_close(steps, torch.full_like(steps, 1 / 6))
    assert positions[0].unique().numel() == len(SEQUENCES) and positions[0].max() < 1 / 6, "from a random start"


# --- what is reported ---


def test_the_figures_are_the_bound_in_other_units():
    denoiser = ExactDenoiser(random_table(), with_codes=True)
    everything = torch.ones_like(SEQUENCES, dtype=torch.bool)
    result = nelbo(denoiser, SEQUENCES, everything)
    per_token = float((result.token_nats + result.latent_nats).sum() / (S * len(SEQUENCES)))
    assert result.nats_per_token == pytest.approx(per_token)
    assert result.perplexity == pytest.approx(math.exp(per_token))
    assert result.bits_per_token == pytest.approx(per_token / math.log(2))
    assert result.token_nats.dtype == torch.float64
