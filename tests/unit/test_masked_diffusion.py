"""Absorbing diffusion: noise and reverse steps keep the schedule's share visible, and draws are exact."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from scipy import stats

from ladd_hf import RowGenerator
from ladd_hf.diffusion import masked
from ladd_hf.diffusion.masked import add_mask_noise, draw_categorical, draw_unmask, nucleus
from ladd_hf.diffusion.noise_schedules import MASK_SCHEDULES, mask_schedule

MASK = 9
ALMOST_NEVER = 1e-4  # p-values below this are failures; the seeds are fixed
BELOW_ONE = 1 - 2.0**-53  # the largest uniform number that is ever drawn


def uniforms(seed, *shape):
    """Independent uniform numbers from torch's own generator."""
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def share_is(count, total, probability):
    return stats.binomtest(int(count), int(total), float(probability)).pvalue > ALMOST_NEVER


def draw_many(logits, count, seed=0, **options):
    """Counts the draws of each category of one row of logits, `(K,)`."""
    drawn = draw_categorical(logits.expand(count, -1), uniforms(seed, count), **options)
    return drawn.bincount(minlength=len(logits))


def interval_middle(probabilities, category):
    """A uniform number in the middle of the category's interval."""
    return probabilities[:category].sum() + probabilities[category] / 2


# --- forward noise ---


def test_noise_masks_each_token_with_probability_one_minus_alpha():
    tokens = torch.arange(4).expand(2, 4).repeat_interleave(5000, dim=1)
    alpha = torch.tensor([0.3, 0.85], dtype=torch.float64)
    noisy = add_mask_noise(tokens, alpha, uniforms(0, *tokens.shape), MASK)
    for row in range(2):
        for token in range(4):  # whatever the token is
            visible = noisy[row, tokens[row] == token] == token
            assert share_is(visible.sum(), len(visible), alpha[row])
    assert ((noisy == tokens) | (noisy == MASK)).all()


@pytest.mark.parametrize("uniform", [0.0, BELOW_ONE])
def test_noise_masks_nothing_at_alpha_one_and_everything_at_alpha_zero(uniform):
    tokens = torch.tensor([[1, 2, 3], [1, 2, 3]])
    drawn = torch.full(tokens.shape, uniform, dtype=torch.float64)
    noisy = add_mask_noise(tokens, torch.tensor([1.0, 0.0]), drawn, MASK)
    assert noisy.tolist() == [[1, 2, 3], [MASK] * 3]


# --- reverse steps: positions ---


@pytest.mark.parametrize("name", sorted(MASK_SCHEDULES))
def test_many_reverse_steps_from_all_masked_keep_the_schedules_share_visible(name):
    schedule, count = mask_schedule(name), 20_000
    alphas = schedule.alpha(torch.linspace(1, 0, 8, dtype=torch.float64)).tolist()
    masked = torch.ones(1, count, dtype=torch.bool)
    # What the schedule leaves visible at t = 1 is masked here as well: the process starts from pure noise.
    for step, (alpha_t, alpha_s) in enumerate(itertools.pairwise(alphas)):
        masked &= ~draw_unmask(masked, alpha_t, alpha_s, uniforms(step, 1, count))
        visible = 1 - (1 - alpha_s) / (1 - alphas[0])
        assert share_is((~masked).sum(), count, visible), f"at step {step}"


def test_noising_to_t_and_a_reverse_step_to_s_has_the_law_of_noising_to_s():
    # Tokens and noise of two places per row: the joint law of which are visible is compared, not each share alone.
    alpha_t, alpha_s, rows = 0.35, 0.6, 30_000
    tokens = torch.zeros(rows, 2, dtype=torch.int64)
    noisy = add_mask_noise(tokens, torch.full((rows,), alpha_t), uniforms(0, rows, 2), MASK)
    revealed = draw_unmask(noisy == MASK, alpha_t, alpha_s, uniforms(1, rows, 2))
    visible = ((noisy != MASK) | revealed).long()
    counts = (visible[:, 0] * 2 + visible[:, 1]).bincount(minlength=4)
    law = torch.tensor([(1 - alpha_s) ** 2, (1 - alpha_s) * alpha_s, (1 - alpha_s) * alpha_s, alpha_s**2])
    assert stats.chisquare(counts.numpy(), (law * rows).numpy()).pvalue > ALMOST_NEVER


@pytest.mark.parametrize("uniform", [0.0, BELOW_ONE])
def test_everything_masked_and_nothing_else_is_revealed_at_the_clean_end(uniform):
    masked = torch.tensor([[True, False, True], [False, False, False]])
    drawn = torch.full(masked.shape, uniform, dtype=torch.float64)
    for alpha_t in (0.0, 0.4, 1 - 1e-12, 1.0):
        assert torch.equal(draw_unmask(masked, alpha_t, 1.0, drawn), masked)


def test_visible_places_are_never_revealed_again():
    masked = uniforms(0, 50, 50) < 0.5
    for alpha_s in (0.21, 0.5, 0.99, 1.0):
        assert not draw_unmask(masked, 0.2, alpha_s, uniforms(1, 50, 50))[~masked].any()


def test_a_step_that_goes_nowhere_reveals_nothing():
    masked = torch.ones(4, 100, dtype=torch.bool)
    assert not draw_unmask(masked, 0.3, 0.3, uniforms(0, 4, 100)).any()


# --- reverse steps: categories ---


def test_categories_are_drawn_by_the_softmax_of_their_logits():
    logits = torch.tensor([0.3, -1.0, 2.0, -torch.inf, -4.0, 1.1])
    counts, law = draw_many(logits, 50_000), logits.double().softmax(-1)
    possible = law > 0
    assert counts[~possible].sum() == 0
    assert stats.chisquare(counts[possible], law[possible] * counts.sum()).pvalue > ALMOST_NEVER


@pytest.mark.parametrize("temperature", [0.25, 0.7, 3.0])
def test_temperature_divides_the_logits(temperature):
    logits = torch.tensor([0.3, -1.0, 1.0, -0.4, 1.1])
    counts, law = draw_many(logits, 50_000, temperature=temperature), (logits.double() / temperature).softmax(-1)
    assert stats.chisquare(counts, law * counts.sum()).pvalue > ALMOST_NEVER
    untempered = logits.double().softmax(-1)  # and the test can tell
    assert stats.chisquare(counts, untempered * counts.sum()).pvalue < ALMOST_NEVER


def test_temperature_zero_takes_the_most_likely_category_whatever_the_uniform_number():
    logits = torch.randn(40, 7, generator=torch.Generator().manual_seed(0))
    for uniform in (torch.zeros(40).double(), uniforms(0, 40), torch.full((40,), BELOW_ONE).double()):
        assert torch.equal(draw_categorical(logits, uniform, temperature=0), logits.argmax(-1))


def test_each_row_is_drawn_from_its_own_logits_with_its_own_uniform_number():
    logits = torch.randn(30, 6, generator=torch.Generator().manual_seed(1))
    uniform = uniforms(2, 30)
    alone = [draw_categorical(logits[i : i + 1], uniform[i : i + 1]) for i in range(30)]
    assert torch.equal(draw_categorical(logits, uniform), torch.cat(alone))


@pytest.mark.parametrize("uniform", [0.0, 2.0**-53, 0.5, BELOW_ONE])
@pytest.mark.parametrize("top_p", [1.0, 0.5])
def test_a_category_at_minus_infinity_is_never_drawn(uniform, top_p):
    generator = torch.Generator().manual_seed(0)
    for impossible in ([0], [7], [0, 1, 7], [3, 4], [0, 1, 2, 4, 5, 6, 7], [6, 7]):
        logits = 5 * torch.randn(200, 8, generator=generator)
        logits[:, impossible] = -torch.inf
        drawn = draw_categorical(logits, torch.full((200,), uniform, dtype=torch.float64), top_p=top_p)
        assert ((drawn >= 0) & (drawn < 8)).all()
        assert not torch.isin(drawn, torch.tensor(impossible)).any()


@pytest.mark.parametrize("place", [0, 2, 4])
@pytest.mark.parametrize("probability", [1e-6, 1e-9, 1e-12])
def test_a_rare_category_is_drawn_exactly_in_its_interval(place, probability):
    law = torch.full((5,), (1 - probability) / 4, dtype=torch.float64)
    law[place] = probability
    start = law[:place].sum()
    inside = [0.01, 0.5, 0.99]
    outside = [share for share in (-0.01, 1.01) if 0 <= start + share * probability < 1]
    uniform = torch.stack([start + share * probability for share in inside + outside])
    drawn = draw_categorical(law.log().expand(len(uniform), -1), uniform)
    assert (drawn == place).tolist() == [True] * len(inside) + [False] * len(outside)


def test_every_category_of_a_long_tail_of_float32_logits_is_drawn_in_its_interval():
    # A vocabulary whose tail of 10,000 tokens holds 1e-7 together: sampling noise in float32 draws none of them.
    logits = torch.zeros(10_001)
    logits[1:] = torch.tensor(1e-11).log()
    law = logits.double().softmax(-1)
    wanted = torch.tensor([0, 1, 2, 777, 9_999, 10_000])
    uniform = torch.stack([interval_middle(law, category) for category in wanted])
    assert torch.equal(draw_categorical(logits.expand(6, -1), uniform), wanted)


def test_the_distribution_is_inverted_from_the_first_category_to_the_last():
    logits = torch.randn(6, generator=torch.Generator().manual_seed(3)).double()
    uniform = torch.linspace(0, 1, 1001, dtype=torch.float64)[:-1]
    drawn = draw_categorical(logits.expand(1000, -1), uniform)
    assert (drawn.diff() >= 0).all()
    below = logits.softmax(-1).cumsum(-1)
    assert torch.equal(drawn, (uniform[:, None] >= below).sum(1))


@pytest.mark.parametrize("top_p", [0.05, 0.5, 0.9, 0.999])
def test_the_nucleus_is_the_smallest_set_of_most_likely_categories_with_enough_mass(top_p):
    law = (2 * torch.randn(100, 12, generator=torch.Generator().manual_seed(0))).double().softmax(-1)
    kept = nucleus(law, top_p)
    inside = kept > 0
    assert torch.equal(kept[inside], law[inside])
    for row, members in zip(law, inside, strict=True):
        assert row[members].sum() >= top_p
        assert row[members].sum() - row[members].min() < top_p
        assert members.all() or row[members].min() > row[~members].max()


def test_top_p_draws_from_the_nucleus_of_the_tempered_law_and_keeps_its_proportions():
    logits, temperature = torch.tensor([0.5, 2.0, -1.0, 1.5, 1.0]), 0.5
    law = (logits.double() / temperature).softmax(-1)
    counts = draw_many(logits, 20_000, temperature=temperature, top_p=0.8)
    inside = torch.tensor([False, True, False, True, False])
    assert law[1] < 0.8 <= law[1] + law[3]
    assert counts[~inside].sum() == 0
    law = law[inside] / law[inside].sum()
    assert stats.chisquare(counts[inside], law * counts.sum()).pvalue > ALMOST_NEVER


def test_a_tiny_top_p_is_greedy():
    logits = torch.randn(40, 7, generator=torch.Generator().manual_seed(0))
    assert torch.equal(draw_categorical(logits, uniforms(0, 40), top_p=1e-9), logits.argmax(-1))


@pytest.mark.parametrize("chunk", [1, 7, 25, 10**6])
def test_a_draw_in_pieces_equals_the_draw_at_once(chunk, monkeypatch):
    logits = torch.randn(33, 7, generator=torch.Generator().manual_seed(0))
    at_once = draw_categorical(logits, uniforms(0, 33), temperature=0.8, top_p=0.9)
    monkeypatch.setattr(masked, "_DRAW_CHUNK", chunk)
    assert torch.equal(draw_categorical(logits, uniforms(0, 33), temperature=0.8, top_p=0.9), at_once)


@pytest.mark.parametrize("temperature", [0, 1])
def test_no_rows_give_no_draws(temperature):
    drawn = draw_categorical(torch.zeros(0, 5), torch.zeros(0, dtype=torch.float64), temperature=temperature)
    assert drawn.shape == (0,) and drawn.dtype == torch.int64


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
def test_logits_of_low_precision_are_drawn_in_float64(dtype):
    logits = torch.randn(500, generator=torch.Generator().manual_seed(0)).to(dtype).expand(2000, -1)
    uniform = RowGenerator.from_seed(0, torch.arange(2000)).uniform()
    assert torch.equal(draw_categorical(logits, uniform), draw_categorical(logits.double(), uniform))


@pytest.mark.parametrize("temperature", [0.0, 1.0])
@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_logits_that_are_no_numbers_are_refused_greedy_or_not(temperature, bad):
    logits = torch.zeros(3, 4)
    logits[1, 2] = bad
    with pytest.raises(ValueError, match="logits hold nan, plus infinity or a row of minus infinities"):
        draw_categorical(logits, torch.zeros(3, dtype=torch.float64), temperature)
