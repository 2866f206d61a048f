"""An encoder's tokens belong to the chunks of the model's tokens whose characters they overlap."""

from __future__ import annotations

import copy
import random
from itertools import pairwise

import pytest
import torch
from helpers.encoders import SeesItsTokenAlone, byte_pairs, letters, letters_in, word_pieces
from tokenizers import AddedToken, normalizers

from ladd_hf import LaddConfig
from ladd_hf.data.encoding import TextEncoder
from ladd_hf.models.chunks import even_chunks
from ladd_hf.models.encoders.pretrained import PretrainedEncoder
from ladd_hf.models.encoders.text_alignment import HIDDEN, align, spell

WORDS = ("the cat sat on the mat", "a dog ran far", "snow fell on hills", "über naïve ☃ café")
ALPHABET = "abcdefghijklmnopqrstuvwxyz"


def distinct_letters(seed, spaces=True):
    """Words that have each letter once, so that a letter tells its place."""
    draw = random.Random(seed)
    shuffled = draw.sample(ALPHABET, 20)
    return "".join(one + (" " if spaces and draw.random() < 0.3 else "") for one in shuffled).strip()


@pytest.fixture(scope="module")
def pairs():
    """Byte-level BPE whose merges are pairs and triples of any letters."""
    draw = random.Random(0)
    return byte_pairs(["".join(draw.choices(ALPHABET, k=8)) for _ in range(400)], vocab_size=700)


@pytest.fixture(scope="module")
def pieces():
    draw = random.Random(1)
    return word_pieces(["".join(draw.choices(ALPHABET, k=4)) for _ in range(2000)], vocab_size=600)


def make_encoder(model_tokenizer, encoder_tokenizer, pooling, latents, max_length=64):
    config = LaddConfig(
        vocab_size=len(model_tokenizer),
        mask_token_id=model_tokenizer.mask_token_id,
        pad_token_id=model_tokenizer.pad_token_id,
        max_position_embeddings=max_length,
        latent_type="continuous",
        latent_length=latents,
        latent_dim=26,
        encoder={"name": "pretrained", "name_or_path": "unread", "tokenizer": "own", "pooling": pooling},
    )
    encoder = PretrainedEncoder(config)
    encoder.pretrained.network = SeesItsTokenAlone(encoder_tokenizer)
    encoder.pretrained._tokenizer = encoder_tokenizer
    encoder.set_model_tokenizer(model_tokenizer)
    return encoder


def batch(tokenizer, texts, side="right"):
    tokenizer.padding_side = side
    encoded = tokenizer(texts, padding=True, return_tensors="pt")
    return encoded["input_ids"], encoded["attention_mask"]


def chunk_letters(tokenizer, ids, latents):
    """The letters of each chunk's tokens: rank r of L goes to chunk floor(r M / L)."""
    chunks = [""] * latents
    for rank, one in enumerate(ids):
        chunks[rank * latents // len(ids)] += tokenizer.decode([one])
    return ["".join(sorted(filter(str.isalpha, chunk))) for chunk in chunks]


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("latents", [1, 2, 3, 4])
def test_the_vector_of_a_chunk_has_exactly_the_characters_of_its_tokens(pairs, latents, side):
    texts = [distinct_letters(seed) for seed in range(24)]
    encoder = make_encoder(pairs, letters(), "adaptive_chunk_mean", latents)
    ids, mask = batch(pairs, texts, side)
    features = encoder.features(ids, mask)
    for row, text in enumerate(texts):
        expected = chunk_letters(pairs, pairs(text)["input_ids"], latents)
        assert [letters_in(vector) for vector in features[row]] == expected, text


def test_a_piece_that_reaches_over_a_border_belongs_to_both_chunks(pieces):
    texts = [distinct_letters(seed) for seed in range(24)]
    model_tokenizer = letters()
    encoder = make_encoder(model_tokenizer, pieces, "adaptive_chunk_mean", 6)
    features = encoder.features(*batch(model_tokenizer, texts))
    over_borders = 0
    for row, text in enumerate(texts):
        chunks = [range(len(text))[-(-j * len(text) // 6) : -(-(j + 1) * len(text) // 6)] for j in range(6)]
        spans = [span for span in pieces(text, return_offsets_mapping=True)["offset_mapping"] if span[1] > span[0]]
        for latent, chunk in enumerate(chunks):
            overlapping = [text[a:b] for a, b in spans if a <= chunk[-1] and b > chunk[0]]
            over_borders += any(a < chunk[0] < b for a, b in spans)
            assert letters_in(features[row, latent]) == "".join(sorted("".join(overlapping))), text
    assert over_borders > 10


def test_a_chunk_of_what_the_encoder_does_not_read_takes_the_token_before_it(pieces):
    model_tokenizer = letters()
    encoder = make_encoder(model_tokenizer, pieces, "last_layer", 4, max_length=4)
    features = encoder.features(*batch(model_tokenizer, ["a  b", " c d"]))
    assert [letters_in(vector) for vector in features[0]] == ["a", "a", "a", "b"]
    assert [letters_in(vector) for vector in features[1]] == ["c", "c", "c", "d"]


def test_the_whole_text_is_every_token_of_the_encoder_and_the_last_one_its_own(pieces):
    text = distinct_letters(3)
    ids = batch(letters(), [text])
    (mean,) = make_encoder(letters(), pieces, "mean", 1).features(*ids)[0]
    assert letters_in(mean) == "".join(sorted(text.replace(" ", "")))
    count = len(pieces(text)["input_ids"])  # with [CLS] and [SEP]
    torch.testing.assert_close(mean[ord(text[0]) - ord("a")], torch.tensor(1 / count))
    (last,) = make_encoder(letters(), pieces, "last_token", 1).features(*ids)[0]
    assert letters_in(last) == "", "[SEP] spells nothing"
    chunks = make_encoder(letters(), pieces, "adaptive_chunk_mean", 3).features(*ids)[0]
    with_end = make_encoder(letters(), pieces, "adaptive_chunk_mean_eos", 4).features(*ids)[0]
    assert torch.equal(with_end, torch.cat([chunks, last[None]]))


def test_hidden_tokens_are_hidden_from_the_encoder_and_leave_the_others_in_their_places(pairs):
    text = distinct_letters(5, spaces=False)
    ids = torch.tensor([pairs(text)["input_ids"]])
    hidden = torch.arange(ids.shape[1]) % 3 == 1
    encoder = make_encoder(pairs, letters(), "adaptive_chunk_mean", 4)
    seen = encoder.features(torch.where(hidden, pairs.mask_token_id, ids))[0]
    chunk = torch.arange(ids.shape[1]) * 4 // ids.shape[1]
    for latent in range(4):
        left = pairs.decode(ids[0, (chunk == latent) & ~hidden])
        assert letters_in(seen[latent]) == "".join(sorted(left))
    read = align([torch.where(hidden, pairs.mask_token_id, ids)[0].tolist()], pairs, letters(), pairs.mask_token_id)
    masks = read.input_ids[0] == letters().mask_token_id
    assert masks.sum() == hidden.sum()
    rank = torch.arange(ids.shape[1])[None]
    over = read.overlapping(rank, rank + 1)[0]  # the encoder's tokens at each of the model's
    assert torch.equal(over[:, masks].any(1), hidden), "each mask stands where a token was hidden"


@pytest.mark.parametrize("hides", [False, True])
def test_special_tokens_that_a_text_writes_out_are_plain_text_to_the_encoder(hides):
    text = "the cat [SEP] sat [MASK] on [CLS] it [PAD][UNK]"
    model_tokenizer, reading = byte_pairs(WORDS), word_pieces([*WORDS, "[ ] sep mask cls pad unk"], vocab_size=200)
    ids = TextEncoder(model_tokenizer)([text]).ids.tolist()
    places = [rank for rank in range(len(ids)) if hides and rank % 9 == 2]
    shown = [model_tokenizer.mask_token_id if rank in places else one for rank, one in enumerate(ids)]
    read = align([shown], model_tokenizer, reading, model_tokenizer.mask_token_id)
    special = torch.isin(read.input_ids[0], torch.tensor(reading.all_special_ids))
    masks = read.input_ids[0] == reading.mask_token_id
    assert masks.sum() == len(places)
    ends = [reading.cls_token_id, reading.sep_token_id]
    assert read.input_ids[0, special & ~masks].tolist() == ends and special[0] and special[-1]
    spelt, bounds = spell(shown, model_tokenizer, model_tokenizer.mask_token_id)
    assert hides or spelt == text
    for piece, start, end in zip(read.input_ids[0], read.starts[0].tolist(), read.ends[0].tolist(), strict=True):
        if piece not in reading.all_special_ids:
            assert reading.convert_ids_to_tokens(int(piece)).removeprefix("##") == spelt[start:end].lower()
    assert read.bounds[0].tolist() == bounds
    where = list(zip(read.starts[0, masks].tolist(), read.ends[0, masks].tolist(), strict=True))
    assert where == [(bounds[rank], bounds[rank + 1]) for rank in places], "each mask where a token was hidden"


def test_nothing_that_a_text_writes_is_read_as_hidden():
    model_tokenizer, reading = byte_pairs(WORDS), word_pieces(WORDS)
    ids = model_tokenizer(f"the {HIDDEN} cat")["input_ids"]
    read = align([ids], model_tokenizer, reading, model_tokenizer.mask_token_id)
    assert not read.input_ids.eq(reading.mask_token_id).any()


@pytest.mark.parametrize("takes_space", [False, True])
def test_a_hidden_token_takes_up_the_space_before_it_where_the_encoders_mask_token_does(pairs, takes_space):
    reading = letters()
    reading.add_special_tokens({"mask_token": AddedToken("<mask>", lstrip=takes_space)})
    ids = [*pairs("a ", add_special_tokens=False)["input_ids"], pairs.mask_token_id]
    read = align([ids], pairs, reading, pairs.mask_token_id)
    expected = ["a", "<mask>"] if takes_space else ["a", " ", "<mask>"]
    assert reading.convert_ids_to_tokens(read.input_ids[0].tolist()) == expected


def test_reading_a_text_leaves_the_encoders_tokenizer_as_it_was(pairs):
    reading = word_pieces(WORDS)
    before = reading.backend_tokenizer.to_str()
    align([pairs("the cat")["input_ids"]], pairs, reading, pairs.mask_token_id)
    assert reading.backend_tokenizer.to_str() == before


def test_texts_are_spelt_as_they_are_decoded_and_every_token_has_its_place():
    tokenizer = byte_pairs(WORDS)
    for text in WORDS:
        ids = tokenizer(text)["input_ids"]
        spelt, bounds = spell([*ids, tokenizer.eos_token_id], tokenizer)
        assert spelt == text and len(bounds) == len(ids) + 2
        assert bounds == sorted(bounds) and bounds[0] == 0 and bounds[-1] == bounds[-2] == len(text)
        for place, one in enumerate(ids):
            if "�" not in tokenizer.decode([one]):
                assert text[bounds[place] : bounds[place + 1]] == tokenizer.decode([one])


def test_pieces_of_words_are_spelt_with_the_spaces_between_them():
    tokenizer = word_pieces(WORDS)
    ids = tokenizer("the cat sat", add_special_tokens=False)["input_ids"]
    spelt, bounds = spell(ids, tokenizer)
    assert spelt == "the cat sat"
    assert "".join(spelt[a:b] for a, b in pairwise(bounds)) == spelt


def test_alignment_of_a_row_does_not_depend_on_its_batch(pairs, pieces):
    rows = [pairs(distinct_letters(seed))["input_ids"] for seed in range(6)]
    together = align(rows, pairs, pieces, pairs.mask_token_id)
    for row, ids in enumerate(rows):
        alone = align([ids], pairs, pieces, pairs.mask_token_id)
        length = int(alone.lengths)
        assert torch.equal(together.input_ids[row, :length], alone.input_ids[0])
        ranges = even_chunks(torch.tensor([len(ids)]), 3)
        padded = align([ids, *rows], pairs, pieces, pairs.mask_token_id)
        both = [torch.cat([one, one.new_zeros(len(rows), 3)]) for one in ranges]
        assert torch.equal(padded.overlapping(*both)[0, :, :length], alone.overlapping(*ranges)[0])


@pytest.mark.parametrize("pooling, latents", [("adaptive_chunk_mean", 3), ("mean", 1), ("last_token", 1)])
def test_a_text_of_which_the_encoder_reads_nothing_is_the_empty_text_to_it(pairs, pieces, pooling, latents):
    encoder = make_encoder(pairs, pieces, pooling, latents)
    states = torch.randn(len(pieces), 26)
    encoder.pretrained.network.spelt = states
    nothing = pairs("   ")["input_ids"]
    assert not any(a < b for a, b in pieces("   ", return_offsets_mapping=True)["offset_mapping"])
    rows = torch.tensor([[*nothing, *nothing][:3], [pairs.pad_token_id] * 3, pairs("abcdefgh")["input_ids"][:3]])
    empty = states[torch.tensor(pieces("")["input_ids"])]  # [CLS], [SEP]
    expected = empty[-1] if pooling == "last_token" else empty.mean(0)
    features = encoder.features(rows)
    torch.testing.assert_close(features[:2], expected.expand(2, latents, -1))
    torch.testing.assert_close(features[2:], encoder.features(rows[2:]))


def test_a_text_of_which_the_encoder_reads_nothing_at_all_is_refused(pairs):
    rows = [pairs("ab")["input_ids"], [pairs.pad_token_id] * 3]
    with pytest.raises(ValueError, match="adds no special tokens to read instead: leave texts of spaces or special"):
        align(rows, pairs, letters(), pairs.mask_token_id)


def test_tokenizers_that_do_not_tell_their_places_are_refused(pairs, monkeypatch):
    slow = letters()
    monkeypatch.setattr(type(slow), "is_fast", property(lambda self: self is not slow))
    for one, two, whose in ((slow, pairs, "model"), (pairs, slow, "encoder")):
        with pytest.raises(ValueError, match=f"The {whose}'s tokenizer .* use a fast one"):
            align([[5, 6]], one, two, 1)


def test_a_tokenizer_that_is_changed_after_it_was_used_is_read_as_it_is(pieces):
    tokenizer = copy.deepcopy(pieces)
    rows = [letters()("abab", add_special_tokens=False)["input_ids"]]
    before = align(rows, letters(), tokenizer, 28).input_ids.tolist()
    for change in (
        lambda: setattr(tokenizer.backend_tokenizer, "normalizer", normalizers.Replace("a", "b")),
        lambda: tokenizer.add_tokens(["bbbb"]),
    ):
        change()
        fresh = align(rows, letters(), copy.deepcopy(tokenizer), 28).input_ids.tolist()
        assert align(rows, letters(), tokenizer, 28).input_ids.tolist() == fresh != before
        before = fresh
