"""Generated texts are as long as those of the data, or end where the model has learnt to end them."""

from __future__ import annotations

from collections import Counter

import pytest
import torch
from datasets import Dataset
from helpers.corpora import characters
from helpers.sampling import MASK, seeded

from ladd_hf import LaddPipeline, RowGenerator, TextFrame
from ladd_hf.data import text_layout, token_blocks
from ladd_hf.metrics import quality_by_evaluations
from ladd_hf.models.text_lengths import draw_lengths

PAD = 0
UNIFORM = {str(length): 20 for length in range(3, 11)}
SKEWED = {"3": 1, "4": 2, "12": 5}
FILLED = {"packing": "pad", "end": [5], "fill": 5, "length": 9}


def chi_square(lengths, law):
    """Of the lengths against their law; it has a mean of as many as there are lengths, less one."""
    counts, total = Counter(lengths), sum(law.values())
    assert set(map(str, counts)) <= set(law)
    expected = {length: len(lengths) * count / total for length, count in law.items()}
    return sum((counts[int(length)] - mean) ** 2 / mean for length, mean in expected.items())


def rows(number, seed=0):
    return RowGenerator.from_seed(seed, torch.arange(number))


@pytest.mark.parametrize("law", [UNIFORM, SKEWED, {"7": 3}], ids=str)
def test_lengths_are_drawn_by_the_law_of_the_data(law):
    assert chi_square(draw_lengths(law, [1] * 50_000, rows(50_000)), law) < len(law) - 1 + 16


def test_behind_a_prompt_they_have_the_law_of_the_texts_that_are_as_long():
    beyond = {length: count for length, count in UNIFORM.items() if int(length) >= 8}
    drawn = draw_lengths(UNIFORM, [8] * 30_000, rows(30_000))
    assert chi_square(drawn, beyond) < 18


def test_data_of_3_to_10_tokens_give_texts_of_3_to_10_tokens(build, tmp_path):
    tokenizer = characters("eos", "pad", "mask", symbols="abcdefgh")
    texts = Dataset.from_dict({"text": ["abcdefghab"[:length] for length in range(3, 11)] * 20})
    blocks = token_blocks(texts, tokenizer, 10, "pad", special_tokens=False)
    layout = text_layout(blocks)
    assert layout["text_lengths"] == UNIFORM
    pipe = build("none", pad_token_id=9, mask_token_id=10, max_position_embeddings=10, tokenizer=tokenizer, **layout)
    pipe.save_pretrained(tmp_path)
    again = LaddPipeline.from_pretrained(tmp_path)
    again.set_progress_bar_config(disable=True)
    result, same = (one(num_steps=1, batch_size=1500, generator=seeded()) for one in (pipe, again))
    assert chi_square(result.lengths.tolist(), UNIFORM) < 24
    assert torch.equal(result.sequences, same.sequences) and torch.equal(result.lengths, same.lengths)


@pytest.mark.parametrize("kind", ["none", "discrete", "continuous"])
def test_a_rows_length_is_its_own(build, kind):
    pipe = build(kind, text_lengths=UNIFORM)
    together = pipe(num_steps=4, batch_size=12, generator=[seeded(row) for row in range(12)])
    assert len(set(together.lengths.tolist())) > 3
    for row, length in enumerate(together.lengths.tolist()):
        alone = pipe(num_steps=4, generator=[seeded(row)])
        assert alone.lengths.tolist() == [length] == [alone.sequences.shape[1]]
        assert torch.equal(together.sequences[row, :length], alone.sequences[0])
        assert (together.sequences[row, length:] == PAD).all()


def test_a_text_whose_length_is_drawn_is_the_text_of_that_length(build):
    pipe = build("discrete", text_lengths=UNIFORM)
    drawn = pipe(num_steps=4, batch_size=6, generator=seeded())
    given = pipe(num_steps=4, length=drawn.lengths, generator=seeded())
    assert torch.equal(drawn.sequences, given.sequences)


def test_one_stream_of_randomness_draws_other_lengths_each_time(build):
    pipe, random = build("none", text_lengths=UNIFORM), rows(20)
    first, second = (pipe(num_steps=2, batch_size=20, generator=random).lengths for _ in range(2))
    assert (first != second).any()


def test_a_length_that_is_given_is_not_drawn(build):
    pipe = build("none", text_lengths=UNIFORM)
    assert pipe(num_steps=2, batch_size=5, length=12).lengths.tolist() == [12] * 5
    assert pipe([[1, MASK, 2]], num_steps=2, length="prompt").lengths.tolist() == [3]


def test_a_prompt_longer_than_all_texts_needs_a_length(build):
    pipe = build("none", text_lengths=UNIFORM)
    assert pipe([1] * 10, num_steps=2).lengths.tolist() == [10]
    with pytest.raises(ValueError, match=r"row 1 has 11 tokens, and the model's training texts at most 10.*`length`"):
        pipe([[1], [1] * 11], num_steps=2)
    assert pipe([1] * 11, num_steps=2, length=12).lengths.tolist() == [12]


@pytest.mark.parametrize(
    "lengths",
    [{}, {"0": 1}, {"13": 1}, {"3": 0}, {"3": -2}, {"three": 1}, {"-3": 1}, {"03": 1, "3": 1}, {"3": 10**400}],
    ids=lambda given: str(given)[:20],
)
def test_what_counts_no_lengths_is_refused(tiny_config, lengths):
    with pytest.raises(ValueError, match="`text_lengths` counts"):
        tiny_config("none", text_lengths=lengths)


# --- ends that were learnt ---


def test_a_model_of_filled_blocks_ends_its_texts_itself(build, tokenizer):
    pipe = build("none", tokenizer=tokenizer, text_frame=FILLED)
    by_default, asked, whole = (
        pipe(num_steps=6, batch_size=30, generator=seeded(), **options)
        for options in ({}, {"stop_at_eos": True}, {"stop_at_eos": False})
    )
    assert whole.sequences.shape == (30, 9) and whole.lengths.tolist() == [9] * 30
    assert torch.equal(by_default.sequences, asked.sequences) and torch.equal(by_default.lengths, asked.lengths)
    for row, length, before in zip(by_default.sequences, by_default.lengths.tolist(), whole.sequences, strict=True):
        ends = (before == 5).nonzero().flatten().tolist()
        assert length == (ends[0] + 1 if ends else 9)
        assert torch.equal(row[:length], before[:length]) and (row[length:] == PAD).all()
    assert len(set(by_default.lengths.tolist())) > 3


def test_other_models_do_not_stop_unless_told(build):
    pipe = build("none", eos_token_id=5, text_frame={"packing": "pad", "end": [5]})
    assert pipe(num_steps=6, batch_size=10, generator=seeded()).lengths.tolist() == [12] * 10


# --- scores ---


@pytest.mark.parametrize("layout", [{"text_lengths": UNIFORM}, {"text_frame": FILLED}], ids=["drawn", "learnt"])
def test_samples_that_are_scored_are_as_long_as_texts_are(build, layout):
    pipe = build("none", **layout)
    scored = {
        size: quality_by_evaluations(pipe, [3], lambda ids: ids, num_samples=40, batch_size=size)[3] for size in (40, 7)
    }
    assert torch.equal(scored[40], scored[7])
    longest = max(map(int, UNIFORM)) if "text_lengths" in layout else TextFrame.of(pipe.model.config).length
    lengths = (scored[40] != PAD).sum(1)  # nearly: a stirred model writes padding now and then
    assert scored[40].shape == (40, longest) and len(set(lengths.tolist())) > 3
