"""Examples become batches: stacked, padded at their ends, or refused in one sentence."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from ladd_hf.data import LaddCollator


@pytest.mark.parametrize("kind", [list, np.array, torch.tensor])
def test_texts_of_one_length_are_stacked_as_they_are(kind):
    batch = LaddCollator()([{"input_ids": kind([1, 2]), "weight": 0.5}, {"input_ids": kind([3, 4]), "weight": 2.0}])
    assert batch["input_ids"].tolist() == [[1, 2], [3, 4]] and batch["input_ids"].dtype == torch.int64
    assert batch["weight"].tolist() == [0.5, 2.0]
    assert "attention_mask" not in batch


def test_shorter_texts_are_padded_at_their_ends():
    examples = [{"input_ids": [5, 6, 7], "labels": [5, -100, 7]}, {"input_ids": [8], "labels": [8]}]
    batch = LaddCollator(pad_token_id=9)(examples)
    assert batch["input_ids"].tolist() == [[5, 6, 7], [8, 9, 9]]
    assert batch["labels"].tolist() == [[5, -100, 7], [8, -100, -100]]
    assert batch["attention_mask"].tolist() == [[1, 1, 1], [1, 0, 0]]


def test_masks_of_a_tokenizer_are_kept():
    examples = [{"input_ids": [5, 6, 7], "attention_mask": [1, 1, 0]}, {"input_ids": [8], "attention_mask": [1]}]
    assert LaddCollator(pad_token_id=0)(examples)["attention_mask"].tolist() == [[1, 1, 0], [1, 0, 0]]


@pytest.mark.parametrize(
    ("examples", "pad", "message"),
    [
        ([{"input_ids": [1, 2]}, {"input_ids": [1]}], None, "have 1 to 2 tokens, and there is no padding token"),
        ([{"input_ids": [1], "text": "a"}], 0, "'text' holds <U1 values, not numbers: tokenize texts first"),
        ([{"input_ids": [1, 2], "x": [1, 2]}, {"input_ids": [1], "x": [1]}], 0, "'x' has 1 entries where"),
    ],
)
def test_what_can_not_be_stacked_is_named(examples, pad, message):
    with pytest.raises(ValueError, match=message):
        LaddCollator(pad)(examples)


@pytest.mark.parametrize("kind", [list, np.array, torch.tensor])
@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"input_ids": [[1, 2]]}, r"Example 1 .* 'input_ids' of shape \(1, 2\); an example is one text: give one list"),
        ({"input_ids": [[1], [2]]}, r"Example 1 .* 'input_ids' of shape \(2, 1\)"),
        ({"input_ids": [1, 2], "labels": [[1], [2]]}, r"Example 1 .* 'labels' of shape \(2, 1\)"),
        ({"input_ids": [1, 2], "attention_mask": [[1], [1]]}, r"Example 1 .* 'attention_mask' of shape \(2, 1\)"),
    ],
)
def test_several_texts_are_no_example(columns, message, kind):
    first = {name: kind([1, 1]) for name in columns}
    with pytest.raises(ValueError, match=message):
        LaddCollator(0)([first, {name: kind(column) for name, column in columns.items()}])
    with pytest.raises(ValueError, match=message.replace("1", "0", 1)):
        LaddCollator(0)([{name: kind(column) for name, column in columns.items()}])


@pytest.mark.parametrize("name", ["input_ids", "x"])
def test_lists_of_several_lengths_are_no_column(name):
    example = {"input_ids": [1, 2], name: [[1], [2, 3]]}
    with pytest.raises(ValueError, match=f"The column '{name}' holds lists of different lengths in one example"):
        LaddCollator(0)([example])


@pytest.mark.parametrize("kind", [list, np.array, torch.tensor])
def test_a_text_that_is_all_padding_is_an_empty_text(kind):
    whole, empty = ({"input_ids": kind([1, 2]), "attention_mask": kind([one, one])} for one in (1, 0))
    for examples, place in (([whole, empty], 1), ([empty], 0)):
        with pytest.raises(ValueError, match=f"Example {place} .* `attention_mask` of 0 for all .* an empty text: fil"):
            LaddCollator(0)(examples)
    LaddCollator(0)([{**whole, "labels": kind([-100, -100])}])  # shown, and not scored


@pytest.mark.parametrize("kind", [list, np.array])
def test_texts_with_fewer_tokens_than_latents_are_refused(kind):
    collate = LaddCollator(pad_token_id=0, min_tokens=3)
    long, short, padded = kind([1, 2, 3]), kind([4, 5]), {"input_ids": kind([4, 5, 0]), "attention_mask": [1, 1, 0]}
    whole = {"input_ids": long, "attention_mask": [1, 1, 1]}
    collate([{"input_ids": long}, {"input_ids": kind([1, 2, 3, 4])}])
    for examples in ([{"input_ids": long}, {"input_ids": short}], [{"input_ids": short}], [whole, padded]):
        with pytest.raises(ValueError, match=r"A text has 2 tokens, fewer than `latent_length` \(3\)"):
            collate(examples)
        LaddCollator(pad_token_id=0)(examples)
