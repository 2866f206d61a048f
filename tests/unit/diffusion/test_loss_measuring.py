"""Measured losses are the exact ones within their errors, whatever the batches."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from helpers.exact_denoiser import SEQUENCES, ExactDenoiser, K, S, V, random_table
from helpers.exact_losses import exact_table

from ladd_hf import RowGenerator
from ladd_hf.diffusion.loss_draws import HeldOutTexts
from ladd_hf.diffusion.loss_measuring import measure_losses
from ladd_hf.diffusion.loss_table import LossTable
from ladd_hf.diffusion.masked import uniform_with_a_mask


def texts(count=400, seed=0):
    places = torch.multinomial(random_table(), count, replacement=True, generator=torch.Generator().manual_seed(seed))
    return SEQUENCES[places]


def numbered(tokens):
    """One batch in which each text has a number as context, and so noise of its own, though texts are repeated."""
    tokens = torch.cat([tokens, torch.arange(len(tokens))[:, None]], dim=1)
    return [HeldOutTexts(tokens, (torch.arange(S + 1) < S).expand_as(tokens))]


def batches(tokens, size=1000):
    return [HeldOutTexts(part, torch.ones_like(part, dtype=torch.bool)) for part in tokens.split(size)]


# --- draws with a mask ---


@pytest.mark.parametrize("alpha", [0.0, 0.3, 0.9, 0.999])
def test_at_least_one_place_is_masked_and_their_number_has_the_conditional_law(alpha):
    count, length = 40_000, 4
    uniform = RowGenerator.from_seed(0, torch.arange(count)).uniform(length)
    maskable = torch.tensor([True, True, True, False]).expand(count, length)
    moved, probability = uniform_with_a_mask(uniform, torch.full((count,), alpha, dtype=torch.float64), maskable)
    masked = (moved >= alpha) & maskable
    assert masked.any(1).all() and moved[:, :3].max() <= 1
    torch.testing.assert_close(probability, torch.full_like(probability, 1 - alpha**3))
    law = torch.distributions.Binomial(3, torch.tensor(1 - alpha).double()).log_prob(torch.arange(4.0).double()).exp()
    law = law[1:] / law[1:].sum()
    found = masked.sum(1).bincount(minlength=4)[1:].double() / count
    assert (found - law).abs().max() < 5 * 0.5 / count**0.5
    assert (masked[:, :3].double().mean(0) - masked[:, :3].double().mean()).abs().max() < 0.015, "no place is preferred"


def test_masks_grow_with_time():
    uniform = RowGenerator.from_seed(1, torch.arange(200)).uniform(5)
    everywhere = torch.ones_like(uniform, dtype=torch.bool)
    before = torch.zeros_like(everywhere)
    for alpha in (0.99, 0.9, 0.5, 0.1, 0.0):
        level = torch.full((200,), alpha, dtype=torch.float64)
        masked = uniform_with_a_mask(uniform, level, everywhere)[0] >= alpha
        assert (masked | ~before).all()
        before = masked


# --- the table ---


@pytest.mark.parametrize("codes", [False, True])
def test_measured_losses_are_the_exact_ones_within_their_errors(codes):
    denoiser = ExactDenoiser(random_table(), with_codes=codes)
    table, exact = measure_losses(denoiser, numbered(texts(2000)), cells=3), exact_table(denoiser, 3)
    assert table.num_texts == 2000 and table.num_tokens == S
    for name in ("token", "latent") if codes else ("token",):
        found, errors = getattr(table, f"{name}_losses"), getattr(table, f"{name}_errors")
        assert (abs(found - getattr(exact, f"{name}_losses")) < 4.5 * errors + 1e-6).all()
        assert (errors < 0.1).all() and (errors > 0).any()
    run = [(1.0, 1.0), (1.0, 0.3), (0.4, 0.0), (0.0, 0.0)]
    found, expected = table.bound(run), exact.bound(run)
    assert abs(found.total_nats - expected.total_nats) < 4 * found.stderr + 0.01
    assert found.nats_per_token == pytest.approx(found.total_nats / S)


def test_more_draws_err_less():
    denoiser = ExactDenoiser(random_table(), with_codes=True)
    few, many = (measure_losses(denoiser, numbered(texts()), 2, num_draws=draws) for draws in (1, 8))
    assert many.token_errors[1].mean() < 0.9 * few.token_errors[1].mean()
    again = measure_losses(denoiser, numbered(texts()), 2, seed=1)
    assert not np.allclose(again.token_losses, few.token_losses)


@pytest.mark.parametrize("size", [7, 100])
def test_the_table_does_not_depend_on_batches_or_order(size):
    denoiser = ExactDenoiser(random_table(), with_codes=True)
    tokens = texts(100)
    whole = measure_losses(denoiser, batches(tokens), 3)
    order = torch.randperm(100, generator=torch.Generator().manual_seed(1))
    parts = measure_losses(denoiser, batches(tokens[order], size), 3, rows_at_once=30)
    for name in ("token_losses", "latent_losses", "token_errors"):
        np.testing.assert_allclose(getattr(parts, name), getattr(whole, name), rtol=1e-9)


def test_padding_and_context_are_neither_noised_nor_scored():
    denoiser = ExactDenoiser(random_table(), with_codes=True)
    tokens = torch.nn.functional.pad(texts(40), (0, 2))
    maskable = torch.zeros_like(tokens, dtype=torch.bool)
    maskable[:, 1:S] = True  # the first token is context
    attention = (torch.arange(S + 2) < S).long().expand_as(tokens)
    table = measure_losses(denoiser, [HeldOutTexts(tokens, maskable, attention)], 2)
    assert table.num_tokens == S - 1
    for call in denoiser.calls:
        assert torch.equal(call["input_ids"][:, 0], tokens[:, 0].repeat(len(call["input_ids"]) // 40))
        assert not call["input_ids"][:, S:].any() and not call["logits_mask"][:, [0, 3, 4]].any()
        assert call["attention_mask"].shape == call["input_ids"].shape


def test_the_denoiser_is_told_its_times_and_several_points_share_an_evaluation():
    denoiser = ExactDenoiser(random_table(), with_codes=True)
    measure_losses(denoiser, batches(texts(10)), 2, rows_at_once=40)
    assert max(len(call["input_ids"]) for call in denoiser.calls) == 40
    for call in denoiser.calls:
        t_x, t_y = call["token_timesteps"], call["latent_timesteps"]
        assert t_x.shape == t_y.shape == (len(call["input_ids"]),)
        assert (call["input_ids"][t_x == 1] == V).all() and (call["latents"][t_y == 1] == K).all()
        assert (call["input_ids"][t_x == 0] != V).all() and (call["latents"][t_y == 0] != K).all()
        of_tokens = call["logits_mask"].any()
        assert not of_tokens or torch.equal(call["logits_mask"], call["input_ids"] == V)
    assert len(denoiser.encoded) == 1


def test_latents_first_measures_only_what_such_runs_meet():
    class Apart(ExactDenoiser):
        latents_alone = "always"

        def denoise(self, input_ids, latents=None, logits_mask=None, predict_latents=True, **kwargs):
            if input_ids is None:
                hidden = torch.full((len(latents), S), V)
                assert (kwargs["token_timesteps"] == 1).all()
                return super().denoise(hidden, latents, torch.zeros_like(hidden, dtype=torch.bool))
            assert not predict_latents and (kwargs["latent_timesteps"] == 0).all()
            return super().denoise(input_ids, latents, logits_mask, **kwargs)

    table = measure_losses(Apart(random_table()), batches(texts()), 3, latents_first=True)
    whole = measure_losses(ExactDenoiser(random_table()), batches(texts()), 3)
    assert table.latents_first and not table.token_losses[:, :-1].any() and not table.latent_losses[1:].any()
    np.testing.assert_allclose(table.token_losses[:, -1], whole.token_losses[:, -1])
    np.testing.assert_allclose(table.latent_losses[0], whole.latent_losses[0])


def test_what_cannot_be_measured_is_refused():
    denoiser = ExactDenoiser(random_table())
    with pytest.raises(ValueError, match="losses of 1 texts have no standard error"):
        measure_losses(denoiser, batches(texts(1)), 2)
    with pytest.raises(ValueError, match="A text has no token to score"):
        HeldOutTexts(texts(2), torch.tensor([[True] * S, [False] * S]))

    class Broken(ExactDenoiser):
        def denoise(self, *inputs, **kwargs):
            output = super().denoise(*inputs, **kwargs)
            output.logits = output.logits * torch.nan
            return output

    with pytest.raises(ValueError, match="not finite"):
        measure_losses(Broken(random_table()), batches(texts(4)), 2)


def test_a_table_is_json_data_and_back():
    table = measure_losses(ExactDenoiser(random_table()), batches(texts(20)), 2)
    again = LossTable.parsed(table.data())
    assert again.data() == table.data() and LossTable.parsed(table) is table
    for wrong in (None, 3, {"token_losses": []}):
        with pytest.raises(ValueError, match="`table` is"):
            LossTable.parsed(wrong)
    with pytest.raises(ValueError, match="has shape"):
        LossTable.parsed({**table.data(), "token_losses": [[1.0]]})


def test_the_share_that_is_measured_is_told_up_to_all_of_it():
    shares: list[float] = []
    measure_losses(ExactDenoiser(random_table()), batches(texts(10), 5), 2, rows_at_once=20, tell=shares.append)
    assert len(shares) > 4 and shares == sorted(shares) and shares[0] > 0 and shares[-1] == pytest.approx(1)
