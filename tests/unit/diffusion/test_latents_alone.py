"""Rows of latents alone are those at t_x = 1 without a visible token, and a batch is evaluated as each row is alone."""

from __future__ import annotations

import pytest
import torch

from ladd_hf.diffusion.latents_alone import LatentsAlone
from ladd_hf.models.modeling_ladd import LaddOutput

MASK = 9
VISIBLE = torch.tensor([[MASK, MASK, MASK], [1, MASK, MASK], [MASK, MASK, MASK], [MASK, MASK, 0], [MASK, MASK, 2]])
PADDING = torch.tensor([[1, 1, 1], [1, 1, 1], [1, 1, 1], [1, 1, 0], [1, 1, 1]])
TOKEN_TIMES = torch.tensor([1.0, 1.0, 0.5, 1.0, 1.0])
LATENT_TIMES = torch.tensor([0.7, 0.7, 0.7, 0.2, 0.7])
ALONE = torch.tensor([True, False, False, True, False])
LATENTS = torch.arange(10.0).view(5, 2, 1)


class Denoiser:
    """Logits that show the row's tokens and latents, predictions that show whether there were tokens."""

    def __init__(self):
        self.calls = []

    def __call__(self, tokens, latents, logits_mask=None, **options):
        self.calls.append({"tokens": tokens, "latents": latents, **options})
        sizes = {len(value) for value in (tokens, latents, *options.values()) if torch.is_tensor(value)} - {1}
        assert len(sizes) <= 1, "every part of a call is of the same rows"
        shift = options["latent_timesteps"].view(-1, 1, 1)
        if tokens is None:
            return LaddOutput(latent_prediction=-latents + shift)
        logits = (tokens + 10 * latents.sum((1, 2))[:, None])[..., None]
        return LaddOutput(
            logits=logits if logits_mask is None else logits[logits_mask], latent_prediction=latents + shift
        )


def evaluated(when="masked", logits_mask=None, times=(TOKEN_TIMES, LATENT_TIMES), **options):
    denoiser = Denoiser()
    options = {"attention_mask": PADDING, "logits_mask": logits_mask, **options}
    times = {"token_timesteps": times[0], "latent_timesteps": times[1]}
    return LatentsAlone(when, MASK).evaluate(denoiser, VISIBLE, LATENTS, **times, **options), denoiser.calls


def test_the_rows_alone_have_no_visible_token_at_the_noisy_end():
    rule = LatentsAlone("masked", MASK)
    assert torch.equal(rule.rows(VISIBLE, PADDING, TOKEN_TIMES, LATENT_TIMES), ALONE)
    assert torch.equal(rule.rows(VISIBLE, None, TOKEN_TIMES, LATENT_TIMES), ALONE & (PADDING[:, 2] == 1))
    assert not rule.rows(VISIBLE, PADDING, TOKEN_TIMES, torch.zeros(1)).any(), "clean latents are not predicted"
    assert torch.equal(rule.rows(VISIBLE, PADDING, torch.ones(1), LATENT_TIMES)[:3], torch.tensor([True, False, True]))
    assert torch.equal(
        rule.rows(VISIBLE, PADDING, TOKEN_TIMES, LATENT_TIMES, torch.arange(5) > 0), ALONE & (torch.arange(5) > 0)
    )


def test_each_row_is_evaluated_in_its_own_way_without_padding():
    nothing = torch.zeros_like(VISIBLE, dtype=torch.bool)
    output, calls = evaluated(logits_mask=nothing)
    shift = LATENT_TIMES.view(-1, 1, 1)
    expected = torch.where(ALONE.view(-1, 1, 1), -LATENTS, LATENTS) + shift
    assert torch.equal(output.latent_prediction, expected) and len(output.logits) == 0
    assert [call["tokens"] is None for call in calls] == [True, False]
    assert [len(call["latents"]) for call in calls] == [2, 3], "each row once"
    assert calls[0]["attention_mask"].tolist() == [[1, 1, 1], [1, 1, 0]], "which says how long the texts are"


@pytest.mark.parametrize("asked", [None, "some"])
def test_rows_that_write_tokens_too_are_evaluated_twice(asked):
    mask = None if asked is None else torch.tensor([[0, 1, 0], [0, 0, 0], [1, 1, 0], [0, 0, 0], [0, 0, 1]]).bool()
    output, calls = evaluated(logits_mask=mask)
    expected = (VISIBLE + 10 * LATENTS.sum((1, 2))[:, None])[..., None]
    assert torch.equal(output.logits, expected if mask is None else expected[mask])
    assert [len(call["latents"]) for call in calls] == [2, 5 if mask is None else 4]
    assert torch.equal((output.latent_prediction < LATENT_TIMES.view(-1, 1, 1)).any((1, 2)), ALONE), "without tokens"


@pytest.mark.parametrize("missing", ["alone", "tokens"])
def test_in_step_with_other_processes_both_calls_are_made_and_the_values_stay(missing):
    times = (TOKEN_TIMES * (missing != "alone"), LATENT_TIMES)
    rows = slice(None) if missing == "alone" else [0, 3]
    options = {"attention_mask": PADDING[rows], "logits_mask": torch.zeros_like(VISIBLE[rows], dtype=torch.bool)}
    options |= {"token_timesteps": times[0][rows], "latent_timesteps": times[1][rows]}
    outputs, counts = [], []
    for in_step in (False, True):
        denoiser = Denoiser()
        rule = LatentsAlone("masked", MASK)
        outputs.append(rule.evaluate(denoiser, VISIBLE[rows], LATENTS[rows], in_step=in_step, **options))
        counts.append(len(denoiser.calls))
    assert counts == [1, 2]
    assert torch.equal(outputs[0].latent_prediction, outputs[1].latent_prediction)
    assert outputs[1].logits.numel() == 0


def test_one_time_serves_all_rows():
    output, calls = evaluated(times=(torch.ones(1), torch.full((1,), 0.7)))
    assert all(len(call["latent_timesteps"]) == 1 for call in calls)
    assert (output.latent_prediction < 0.7 + 1e-6).any((1, 2)).tolist() == [True, False, True, True, False]


def test_otherwise_a_batch_is_one_call():
    for options in ({"when": "never"}, {"latents_move": False}, {"times": (TOKEN_TIMES / 2, LATENT_TIMES)}):
        output, calls = evaluated(**options)
        assert len(calls) == 1 and torch.equal(calls[0]["tokens"], VISIBLE) and len(output.logits) == 5


def test_of_two_networks_the_one_that_is_needed_runs():
    nothing = torch.zeros_like(VISIBLE, dtype=torch.bool)
    assert evaluated("always", nothing)[1][0]["tokens"] is None
    assert evaluated("always", ~nothing, latents_move=False)[1][0]["predict_latents"] is False
    for options in ({"logits_mask": ~nothing}, {"logits_mask": nothing, "latents_move": ALONE}):
        (call,) = evaluated("always", **options)[1]
        assert call["tokens"] is not None and "predict_latents" not in call, "both"
