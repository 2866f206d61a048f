"""Padding at the ends of prompts given as ids is padding, or there is no telling and that is said."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from helpers.sampling import MASK, seeded

from ladd_hf.models.vocabulary import WRITTEN_ROLES

PAD = 0
PADDED = [[1, 2, 3, 4], [5, 6, PAD, PAD], [7, PAD, PAD, PAD]]
LEFT = [[1, 2, 3, 4], [PAD, PAD, 5, 6], [PAD, PAD, PAD, 7]]
MEANT = [[1, 2, 3, 4], [5, 6], [7]]


@pytest.mark.parametrize("padded", [PADDED, LEFT], ids=["right", "left"])
@pytest.mark.parametrize("kind", [list, torch.tensor, np.array, lambda rows: {"input_ids": rows}])
def test_padding_at_the_ends_of_ids_is_no_prompt(build, tokenizer, padded, kind):
    for pipe in (build("none"), build("none", tokenizer=tokenizer)):
        found, expected = (pipe(rows, num_steps=6, generator=seeded()).sequences for rows in (kind(padded), MEANT))
        assert torch.equal(found, expected)


def test_the_ids_a_tokenizer_gives_are_the_prompts_it_was_given(build, tokenizer):
    pipe, texts = build("none", tokenizer=tokenizer), ["ab", "abcdef"]
    ids = tokenizer(texts, padding=True, add_special_tokens=False).input_ids
    assert PAD in ids[0]
    assert pipe(ids, num_steps=6, generator=seeded()).texts == pipe(texts, num_steps=6, generator=seeded()).texts


def test_padded_ids_have_the_latents_of_their_texts(build):
    pipe = build("discrete", latent_length=1)
    padded, alone = pipe.encode(PADDED), torch.cat([pipe.encode([row]) for row in MEANT])
    assert torch.equal(padded, alone)
    lengths = pipe.interpolate([1, 2, 3, PAD, PAD], [PAD, 4], batch_size=2, num_steps=4).lengths
    assert lengths.tolist() == [3, 1]


@pytest.mark.parametrize("role", WRITTEN_ROLES)
@pytest.mark.parametrize("ids", [PADDED, LEFT, [[5, 6, 7], [5, 6, PAD]]], ids=str)
def test_padding_that_means_something_else_as_well_needs_a_mask(build, role, ids):
    pipe = build("none", **{role: PAD})
    with pytest.raises(ValueError, match=r"begin or end with 0, which is the padding token.*`attention_mask`"):
        pipe(ids, num_steps=2)
    mask = [[int(one != PAD) for one in row] for row in ids]
    found = pipe({"input_ids": ids, "attention_mask": mask}, num_steps=6, generator=seeded())
    expected = pipe([[one for one in row if one != PAD] for row in ids], num_steps=6, generator=seeded())
    assert torch.equal(found.sequences, expected.sequences)


@pytest.mark.parametrize(
    "ids", [[[5, 6, PAD]], [[PAD, 5, MASK, PAD]], [[PAD, 5, PAD], [PAD, 6, PAD]], [[5, PAD, PAD]]], ids=str
)
def test_what_stands_in_all_rows_alike_is_text(build, ids):
    sequences = build("none", eos_token_id=PAD, bos_token_id=PAD)(ids, num_steps=4).sequences
    for row, written in zip(ids, sequences.tolist(), strict=True):
        assert all(one in (MASK, found) for one, found in zip(row, written, strict=False))


def test_what_fills_up_the_models_texts_is_text(build):
    frame = {"packing": "pad", "end": [PAD], "fill": PAD, "length": 4}
    pipe = build("none", eos_token_id=PAD, text_frame=frame)
    sequences = pipe([[5, 6, 7, PAD], [5, PAD, PAD, PAD]], num_steps=2, length=4).sequences
    assert sequences.tolist() == [[5, 6, 7, PAD], [5, PAD, PAD, PAD]]


def test_rows_of_different_lengths_were_not_padded(build):
    pipe = build("none", eos_token_id=PAD)
    sequences = pipe([[5, 6, PAD], [7, MASK]], num_steps=4).sequences
    assert sequences[0, :3].tolist() == [5, 6, PAD]
