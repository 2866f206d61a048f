"""A latent is the mean of the states of its own tokens, whichever way a text is shared out."""

from __future__ import annotations

import pytest
import torch

from ladd_hf.models.chunks import Chunks, check_shortest, range_mask
from ladd_hf.models.encoders.pooling import POOLINGS, mean_states

LENGTHS = torch.tensor([12, 9, 6, 5, 4])


def by_definition(name, length, latents):
    """Ranks of each latent's tokens, token by token."""
    ranks = range(length)
    if name == "last_token":
        return [[length - 1]]
    if name == "mean":
        return [list(ranks)]
    if name == "last_layer":
        return [[rank] for rank in ranks]
    if name == "adaptive_chunk_mean":
        return [[r for r in ranks if r * latents // length == j] for j in range(latents)]
    others = by_definition("adaptive_chunk_mean", length - 1, latents - 1)
    return [*others, [length - 1]]


CASES = [
    ("last_token", 1),
    ("mean", 1),
    *(("adaptive_chunk_mean", m) for m in (1, 2, 3, 4)),
    *(("adaptive_chunk_mean_eos", m) for m in (2, 3, 4)),
]


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("name, latents", CASES)
def test_latents_are_means_of_the_tokens_of_the_definition(name, latents, side):
    torch.manual_seed(0)
    states = torch.randn(5, 12, 7)
    starts = torch.zeros_like(LENGTHS) if side == "right" else 12 - LENGTHS
    chosen = range_mask(*POOLINGS[name].ranges(LENGTHS, latents), starts, 12)
    pooled = mean_states(states, chosen)
    for row, (start, length) in enumerate(zip(starts.tolist(), LENGTHS.tolist(), strict=True)):
        for latent, ranks in enumerate(by_definition(name, length, latents)):
            expected = states[row, [start + rank for rank in ranks]].mean(0)
            torch.testing.assert_close(pooled[row, latent], expected)


def test_the_last_layer_is_every_state_as_it_is():
    states = torch.randn(3, 6, 7)
    lengths = torch.full((3,), 6)
    chosen = range_mask(*POOLINGS["last_layer"].ranges(lengths, 6), torch.zeros_like(lengths), 6)
    assert torch.equal(mean_states(states, chosen), states)


@pytest.mark.parametrize("latents", [1, 2, 3, 4])
def test_chunks_are_the_chunks_of_our_own_encoder(latents):
    states, starts = torch.randn(5, 12, 2), torch.zeros_like(LENGTHS)
    chosen = range_mask(*POOLINGS["adaptive_chunk_mean"].ranges(LENGTHS, latents), starts, 12)
    chunks = Chunks(latents, 12)
    read = chunks.read(states, starts, LENGTHS).view(5, latents, chunks.size, 2)
    torch.testing.assert_close(mean_states(states, chosen) * chosen.sum(-1, keepdim=True), read.sum(2))


@pytest.mark.parametrize("name, latents", [case for case in CASES if case[0] != "last_token"])
def test_every_token_belongs_to_exactly_one_latent(name, latents):
    chosen = range_mask(*POOLINGS[name].ranges(LENGTHS, latents), torch.zeros_like(LENGTHS), 12)
    real = torch.arange(12) < LENGTHS[:, None]
    assert torch.equal(chosen.sum(1), real.long())


def test_what_stands_at_padding_changes_nothing_not_even_what_is_no_number():
    states = torch.randn(5, 12, 3)
    chosen = range_mask(*POOLINGS["mean"].ranges(LENGTHS, 1), torch.zeros_like(LENGTHS), 12)
    spoilt = torch.where((torch.arange(12) < LENGTHS[:, None])[..., None], states, torch.nan)
    assert torch.equal(mean_states(spoilt, chosen), mean_states(states, chosen))


def test_means_of_half_precision_states_are_taken_in_float32():
    states = torch.randn(5, 12, 3).bfloat16()
    chosen = range_mask(*POOLINGS["mean"].ranges(LENGTHS, 1), torch.zeros_like(LENGTHS), 12)
    with torch.autocast("cpu", torch.bfloat16):
        pooled = mean_states(states, chosen)
    assert pooled.dtype == torch.float32
    assert torch.equal(pooled, mean_states(states.float(), chosen))


@pytest.mark.parametrize(
    "name, latents, says",
    [
        ("last_layer", 4, "exactly 12 latents"),
        ("last_token", 2, "exactly 1 latents"),
        ("mean", 4, "exactly 1 latents"),
        ("adaptive_chunk_mean_eos", 1, "2 to 12 latents"),
        ("adaptive_chunk_mean", 13, "1 to 12 latents"),
    ],
)
def test_a_number_of_latents_that_a_pooling_does_not_give_is_refused(name, latents, says):
    with pytest.raises(ValueError, match=f"'{name}' gives {says}.*`latent_length` is {latents}"):
        POOLINGS[name].check(name, latents, 12)
    for fine in {"last_layer": (12,), "last_token": (1,), "mean": (1,)}.get(name, (2, 12)):
        POOLINGS[name].check(name, fine, 12)


def test_texts_with_fewer_tokens_than_latents_are_refused():
    with pytest.raises(ValueError, match=r"A text has 4 tokens, fewer than `latent_length` \(5\)"):
        check_shortest(4, 5)
    check_shortest(4, 4)


def test_only_a_latent_for_each_token_limits_how_long_texts_are():
    for name, pooling in POOLINGS.items():
        if name != "last_layer":
            pooling.check_longest(name, 12, 4)
    POOLINGS["last_layer"].check_longest("last_layer", 4, 4)
    with pytest.raises(ValueError, match=r"A text has 12 tokens, but `encoder.pooling` 'last_layer' reads exactly 4"):
        POOLINGS["last_layer"].check_longest("last_layer", 12, 4)
