"""Latents of a text can be taken, varied and mixed, and written from."""

from __future__ import annotations

import pytest
import torch
from accelerate.hooks import ModelHook, add_hook_to_module
from helpers.sampling import MASK, WITH_LATENTS, seeded, watch

from ladd_hf import RowGenerator
from ladd_hf.pipelines.interpolation import interpolate_latents

RANDOM = {"dtype": torch.float64}


def one_row(seed=0):
    return RowGenerator.from_seed(seed, torch.zeros(1, dtype=torch.int64))


# --- encode ---


@pytest.mark.parametrize("kind", WITH_LATENTS)
def test_encoded_texts_have_the_latents_of_the_model_each_as_it_is_alone(build, tokenizer, kind):
    pipe = build(kind, tokenizer=tokenizer)
    together = pipe.encode(["headach", "beach", "bead"])
    assert len(together) == 3
    for row, text in enumerate(["headach", "beach", "bead"]):
        alone = pipe.encode(text)
        torch.testing.assert_close(together[row : row + 1], alone)
        ids = torch.tensor(tokenizer(text, add_special_tokens=False)["input_ids"])[None]
        torch.testing.assert_close(alone, pipe.model.encode_latents(ids))
        torch.testing.assert_close(pipe.encode(ids[0]), alone)


@pytest.mark.parametrize(("ids", "tokens"), [([1] * 13, r"\[13\]"), ([[1], []], r"\[1, 0\]"), ("", r"\[0\]")], ids=str)
def test_texts_of_no_or_too_many_tokens_are_not_encoded(build, tokenizer, ids, tokens):
    with pytest.raises(ValueError, match=f"{tokens} tokens; the encoder takes 4 to 12"):
        build("discrete", tokenizer=tokenizer).encode(ids)


def test_a_text_with_gaps_is_not_encoded(build, tokenizer):
    with pytest.raises(ValueError, match="Text 0 holds the mask token"):
        build("discrete", tokenizer=tokenizer).encode("a[MASK]")


def test_ids_the_model_has_not_are_not_encoded(build):
    with pytest.raises(ValueError, match=r"Text 1 has ids outside.*0 to 10"):
        build("discrete").encode([[1], [2, 11]])


def test_a_model_without_latents_encodes_nothing(build):
    with pytest.raises(ValueError, match="no latents"):
        build("none").encode([1, 2])


def test_a_model_that_is_kept_elsewhere_is_brought_in_to_encode(build):
    brought = []

    class Brings(ModelHook):
        def pre_forward(self, module, *args, **kwargs):
            brought.append(module)
            return args, kwargs

    pipe = build("discrete")
    add_hook_to_module(pipe.model, Brings())
    pipe.encode([1, 2, 3, 4])
    assert brought == [pipe.model]


# --- variations ---


@pytest.mark.parametrize("kind", ["discrete", "continuous"])
def test_variations_without_noise_are_written_from_the_texts_own_latents(build, kind, scheduler):
    pipe, text = build(kind, scheduler), [1, 2, 3, 4, 5, 6]
    result = pipe.variations(text, strength=0.0, batch_size=3, num_steps=3, generator=seeded())
    given = pipe(latents=pipe.encode(text).expand(3, *[-1] * (2 if kind == "continuous" else 1)), num_steps=3, length=6)
    assert result.sequences.shape == (3, 6) and result.nfe == 3
    assert torch.equal(result.latents, given.latents)


@pytest.mark.parametrize("kind", WITH_LATENTS)
def test_variations_start_at_the_noise_asked_for_and_end_with_clean_latents(build, kind, scheduler):
    pipe = build(kind, scheduler)
    calls = watch(pipe.model)
    result = pipe.variations([1, 2, 3, 4], strength=0.6, batch_size=5, num_steps=6, generator=seeded())
    assert len(calls) == result.nfe == 6 and result.sequences.shape == (5, 4)
    times = [float(call.latent_timesteps) for call in calls]
    assert times[0] == pytest.approx(0.6) and sorted(times, reverse=True) == times
    assert result.sequences.max() < MASK
    if result.latents.dtype == torch.int64:
        assert result.latents.max() < pipe.model.config.codebook_size


def test_more_noise_leaves_less_of_the_codes(build):
    pipe, text = build("discrete", "sequential"), [1, 2, 3, 4, 5, 6, 7, 8]
    own = pipe.encode(text)
    kept = [
        float((pipe.variations(text, noise, 200, num_steps=4, generator=seeded()).latents == own).double().mean())
        for noise in (0.1, 0.5, 1.0)
    ]
    assert kept[0] > 0.97 and kept[0] > kept[1] > kept[2]


def test_variations_of_full_noise_have_the_law_of_new_texts(build):
    pipe = build("discrete", "sequential")
    count = 4000
    varied = pipe.variations([1, 2, 3, 4], 1.0, count, num_steps=2, generator=seeded()).sequences
    fresh = pipe(num_steps=2, length=4, batch_size=count, generator=seeded(1)).sequences
    for place in range(4):
        a, b = (x[:, place].bincount(minlength=10).double() / count for x in (varied, fresh))
        assert (a - b).abs().max() < 5 * (2 * 0.25 / count) ** 0.5


def test_a_text_with_fewer_tokens_than_latents_is_not_varied(build):
    for kind in ("discrete", "continuous"):
        with pytest.raises(ValueError, match=r"A text has 3 tokens, fewer than `latent_length` \(4\)"):
            build(kind).variations([1, 2, 3], num_steps=2)


def test_several_texts_are_not_varied_at_once(build):
    with pytest.raises(ValueError, match="`text` holds 2 texts"):
        build("discrete").variations([[1], [2]], num_steps=2)


# --- interpolation ---


def test_vectors_turn_evenly_from_the_first_to_the_second():
    first, second = (torch.randn(1, 3, 4, generator=seeded(i), **RANDOM) for i in range(2))
    weights = torch.linspace(0, 1, 9, **RANDOM)
    path = interpolate_latents(first, second, weights, one_row())
    torch.testing.assert_close(path[:1], first)
    torch.testing.assert_close(path[-1:], second)
    lengths = path.norm(dim=-1)
    torch.testing.assert_close(lengths, torch.lerp(lengths[:1], lengths[-1:], weights[:, None]))
    directions = path / lengths[..., None]
    turns = (directions[1:] * directions[:-1]).sum(-1).acos()  # between neighbours
    torch.testing.assert_close(turns, turns[:1].expand_as(turns))
    whole = (directions[0] * directions[-1]).sum(-1).acos()
    torch.testing.assert_close(turns.sum(0), whole)


def test_between_equal_vectors_nothing_moves():
    latents = torch.randn(1, 3, 4, **RANDOM, generator=seeded())
    path = interpolate_latents(latents, latents, torch.tensor([0.0, 0.3, 1.0]), one_row())
    torch.testing.assert_close(path, latents.expand(3, -1, -1))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("size", [2, 3, 16])
@pytest.mark.parametrize("apart", [0.0, 1e-15, 1e-8, 1e-4, 0.1])
def test_vectors_keep_their_length_on_the_way_to_opposite_ones_and_to_their_like(apart, size, dtype):
    first = torch.randn(1, 5, size, generator=seeded(), dtype=dtype)
    aside = torch.randn(1, 5, size, generator=seeded(1), dtype=dtype)
    weights = torch.linspace(0, 1, 9, **RANDOM)
    for sign in (-2, 2):
        second = sign * first + apart * aside
        path = interpolate_latents(first, second, weights, one_row())
        assert path.dtype == dtype and torch.equal(path[:1], first) and torch.equal(path[-1:], second)
        lengths = path.norm(dim=-1).double()
        torch.testing.assert_close(lengths, torch.lerp(lengths[:1], lengths[-1:], weights[:, None]), rtol=1e-6, atol=0)
        steps = (path[1:] - path[:-1]).norm(dim=-1)
        assert (steps < 0.75 * second.norm(dim=-1)).all(), "it turns, and never jumps to the other side"
        assert torch.equal(path, interpolate_latents(first, second, weights, one_row(1))), "always the same way"


def test_a_way_from_or_to_nothing_is_a_straight_line():
    vector, nothing, weights = torch.randn(1, 3, 4, **RANDOM), torch.zeros(1, 3, 4, **RANDOM), torch.linspace(0, 1, 5)
    for ends in ((vector, nothing), (nothing, vector), (nothing, nothing)):
        path = interpolate_latents(*ends, weights, one_row())
        torch.testing.assert_close(path, torch.lerp(*ends, weights.double()[:, None, None]))


def test_opposite_numbers_have_zero_between_them():
    path = interpolate_latents(torch.ones(1, 2, 1), -torch.ones(1, 2, 1), torch.linspace(0, 1, 5), one_row())
    assert path[:, 0, 0].tolist() == [1, 0.5, 0, -0.5, -1]


def test_codes_change_one_after_the_other_and_none_changes_back():
    first, second = torch.zeros(1, 50, dtype=torch.int64), torch.ones(1, 50, dtype=torch.int64)
    path = interpolate_latents(first, second, torch.linspace(0, 1, 11), one_row())
    assert torch.equal(path[:1], first) and torch.equal(path[-1:], second)
    assert (path[1:] >= path[:-1]).all()
    assert path.double().mean(1)[5] == pytest.approx(0.5, abs=0.25)


@pytest.mark.parametrize("kind", WITH_LATENTS)
def test_texts_on_the_way_from_one_to_another(build, kind):
    pipe, first, second = build(kind, "sequential"), [1, 2, 3, 4], [9, 8, 7, 6, 5, 4, 3, 2]
    result = pipe.interpolate(first, second, 5, num_steps=3, generator=seeded())
    assert result.lengths.tolist() == [4, 5, 6, 7, 8]
    torch.testing.assert_close(result.latents[:1], pipe.encode(first))
    torch.testing.assert_close(result.latents[-1:], pipe.encode(second))
    fixed = pipe.interpolate(first, second, num_steps=3, length=6, generator=seeded())
    assert fixed.sequences.shape == (5, 6)


def test_a_text_halfway_between_two_lengths_has_the_longer(build):
    for first, second in (([1, 2, 3, 4], [1] * 5), ([1] * 5, [1, 2, 3, 4]), ([1] * 5, [1] * 6)):
        lengths = build("discrete").interpolate(first, second, 3, num_steps=2).lengths.tolist()
        assert lengths[1] == max(len(first), len(second))


def test_a_way_has_one_text_at_each_end(build):
    with pytest.raises(ValueError, match="`second` holds 2 texts"):
        build("discrete").interpolate([1], [[1], [2]])


@pytest.mark.parametrize("kind", WITH_LATENTS)
def test_shares_of_the_second_text_may_be_given(build, kind):
    pipe, texts = build(kind), ([1, 2, 3, 4, 5, 6], [6, 5, 4, 3])
    even = pipe.interpolate(*texts, batch_size=5, num_steps=2, generator=seeded())
    given = pipe.interpolate(*texts, weights=[1, 0.25], num_steps=2, generator=seeded())
    torch.testing.assert_close(given.latents, even.latents[[4, 1]])
    assert given.lengths.tolist() == even.lengths[[4, 1]].tolist()


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"weights": [0.5], "batch_size": 1}, "`weights` is given beside `batch_size` 1"),
        ({"weights": []}, "`weights` is empty"),
        ({"weights": [0.5, 1.5]}, r"`weights` is 1\.5.*a share from 0 to 1"),
    ],
)
def test_shares_that_cannot_be_are_refused(build, given, said):
    with pytest.raises(ValueError, match=said):
        build("discrete").interpolate([1, 2, 3, 4], [4, 3, 2, 1], **given)
