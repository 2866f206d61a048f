"""Documents become blocks of one length and nothing is lost, wherever batches are cut."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from ladd_hf.data.encoding import Documents
from ladd_hf.data.packing import Packed, Padded

PAD, BOS, EOS = 100, 101, 102
NOTHING = np.empty(0, np.uint16)
TEXTS = st.lists(st.lists(st.integers(0, 9), max_size=9), max_size=12)
CUTS = st.lists(st.integers(0, 12), max_size=4)


def documents(lists):
    flat = [token for tokens in lists for token in tokens]
    return Documents(np.array(flat, np.uint16), np.array(list(map(len, lists)), np.int64))


def blocks_of(layout, lists, cuts=()):
    """Rows with their padding removed, cut batch by batch where `cuts` say."""
    edges = [0, *sorted(min(cut, len(lists)) for cut in cuts), len(lists)]
    batches = [lists[start:stop] for start, stop in itertools.pairwise(edges)]
    rows, carry = [], NOTHING
    for number, batch in enumerate(batches):
        blocks, carry = layout.cut(documents(batch), carry, last=number + 1 == len(batches))
        assert blocks.ids.shape == (len(blocks.lengths), layout.length) and blocks.ids.dtype == np.uint16
        for row, length in zip(blocks.ids.tolist(), blocks.lengths.tolist(), strict=True):
            assert row[length:] == [PAD] * (layout.length - length)
            rows.append(row[:length])
    assert not len(carry)
    return rows


def joined(rows):
    return [token for row in rows for token in row]


@settings(max_examples=100, deadline=None)
@given(TEXTS, st.integers(1, 7), CUTS, st.sampled_from([[], [EOS], [8, 9]]))
@example([[1, 2, 3], [], [4]], 2, [1, 1], [EOS])
def test_packed_blocks_are_the_documents_in_one_stream(lists, length, cuts, separator):
    rows = blocks_of(Packed(length, separator, pad_token_id=PAD), lists, cuts)
    assert joined(rows) == joined(tokens + separator for tokens in lists)
    assert all(len(row) == length for row in rows[:-1]), "only the last may be incomplete"


@settings(max_examples=100, deadline=None)
@given(TEXTS, st.integers(1, 7), CUTS)
def test_dropping_the_remainder_drops_the_last_incomplete_block_and_no_more(lists, length, cuts):
    kept = blocks_of(Packed(length, [EOS], pad_token_id=PAD), lists)
    assert blocks_of(Packed(length, [EOS]), lists, cuts) == [row for row in kept if len(row) == length]


@settings(max_examples=60, deadline=None)
@given(TEXTS, st.integers(3, 7), CUTS)
def test_wrapped_blocks_are_packed_ones_between_two_tokens(lists, length, cuts):
    wrapped = blocks_of(Packed(length, [EOS], [BOS], [EOS], PAD), lists, cuts)
    assert wrapped == [[BOS, *row, EOS] for row in blocks_of(Packed(length - 2, [EOS], pad_token_id=PAD), lists)]


@settings(max_examples=100, deadline=None)
@given(TEXTS, st.integers(3, 7), CUTS, st.booleans())
@example([[]], 3, [], False)
def test_padded_blocks_hold_one_document_each(lists, length, cuts, special):
    start, end = ([BOS], [EOS]) if special else ([], [])
    rows = blocks_of(Padded(length, PAD, start, end), lists, cuts)
    whole = [start + tokens + end for tokens in lists]
    pieces = [tokens[place : place + length] for tokens in whole for place in range(0, len(tokens), length)]
    assert rows == pieces


@settings(max_examples=100, deadline=None)
@given(TEXTS, st.integers(3, 7), CUTS, st.integers(1, 7), st.booleans(), st.booleans())
def test_blocks_with_too_few_tokens_are_left_out_and_counted(lists, length, cuts, fewest, packed, truncate):
    fewest = min(fewest, length)

    def layout(**few):
        edges = {"start": [BOS], "end": [EOS]}
        if packed:
            return Packed(length, [EOS], **edges, pad_token_id=PAD, **few)
        return Padded(length, PAD, **edges, truncate=truncate, **few)

    everything = blocks_of(layout(), lists, cuts)
    kept = blocks_of(layout(min_tokens=fewest), lists, cuts)
    assert kept == [row for row in everything if len(row) >= fewest]
    blocks, _ = layout(min_tokens=fewest).cut(documents(lists), NOTHING, last=True)
    assert blocks.left_out == len(everything) - len(kept)


@settings(max_examples=60, deadline=None)
@given(TEXTS, st.integers(3, 7), CUTS)
def test_truncated_documents_keep_their_ends(lists, length, cuts):
    rows = blocks_of(Padded(length, PAD, [BOS], [EOS], truncate=True), lists, cuts)
    assert rows == [[BOS, *tokens[: length - 2], EOS] for tokens in lists]


def test_the_mask_is_true_where_there_is_text():
    blocks, _ = Packed(4, pad_token_id=PAD).cut(documents([[1, 2, 3], [4, 5]]), NOTHING, last=True)
    assert blocks.attention_mask.tolist() == [[True] * 4, [True, False, False, False]]


@pytest.mark.parametrize("layout", [lambda: Packed(2, [], [BOS], [EOS]), lambda: Padded(1, PAD, [], [EOS])])
def test_a_block_needs_room_for_text(layout):
    with pytest.raises(ValueError, match="are special tokens, but a block holds at least one token of text"):
        layout()
