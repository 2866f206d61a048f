"""Alignment of two tokenizers' tokens over the same text, by characters.

A latent represents a chunk of the model's tokens. An encoder with its own tokenizer reads their text, and its tokens
belong to the chunks whose characters they overlap.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

import torch
from tokenizers import AddedToken
from tokenizers.decoders import DecodeStream
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from ...utils.padding import padded, real_places

HIDDEN = "\U0010ffff"  # marks hidden tokens in a text: a code point that is not a character


@dataclass
class AlignedText:
    """A batch of texts in an encoder's tokens, with the character positions of the model's tokens.

    Attributes:
        input_ids, attention_mask: `(B, T)`, padded at the end.
        starts, ends: `(B, T)`, the characters of each token; empty for special tokens and padding.
        bounds: `(B, S + 1)`: the model's token of rank r covers the characters from entry r to entry r + 1.
    """

    input_ids: Tensor
    attention_mask: Tensor
    starts: Tensor
    ends: Tensor
    bounds: Tensor

    @property
    def lengths(self) -> Tensor:
        """Number of the encoder's tokens of each text, including special tokens, `(B,)`."""
        return self.attention_mask.sum(1)

    def overlapping(self, first: Tensor, end: Tensor) -> Tensor:
        """Marks the encoder's tokens that overlap the model's tokens of ranks `first` to `end`, `(B, M, T)` bool.

        Ranges without a character that the encoder reads, such as a lone space, take the token before them, or the
        first one if there is none before. In a text without any such character they take all of its tokens: the special
        ones, which are the encoder's form of an empty text.
        """
        begin, stop = (self.bounds.gather(1, ranks)[..., None] for ranks in (first, end))  # (B, M, 1)
        starts, ends = self.starts[:, None], self.ends[:, None]
        is_text = starts < ends
        overlap = is_text & (starts < stop) & (ends > begin)
        before = is_text & (ends <= begin)
        last_before = before.shape[-1] - 1 - before.flip(-1).int().argmax(-1, keepdim=True)
        nearest = torch.where(before.any(-1, keepdim=True), last_before, is_text.int().argmax(-1, keepdim=True))
        nothing = ~overlap.any(-1, keepdim=True)
        places = torch.arange(overlap.shape[-1], device=overlap.device)
        empty = ~is_text.any(-1, keepdim=True)
        instead = torch.where(empty, self.attention_mask[:, None].bool(), places == nearest)
        return overlap | (nothing & instead)


def align(
    rows: Sequence[Sequence[int]],
    tokenizer: PreTrainedTokenizerBase,
    encoder_tokenizer: PreTrainedTokenizerBase,
    hidden_id: int,
) -> AlignedText:
    """Returns the texts of some rows of ids in the encoder's tokens.

    Args:
        rows: the model's ids, without padding.
        tokenizer: the model's.
        encoder_tokenizer: the encoder's.
        hidden_id: the model's mask token, which the encoder reads as a mask token of its own (see `mask_substitute`).

    Special tokens spelled out in a text are plain text to the encoder, as they are to the model.

    Raises `ValueError` for tokenizers without offsets of their tokens, and for a text in which the encoder reads
    nothing, not even its own special tokens.
    """
    for one, whose in ((tokenizer, "model"), (encoder_tokenizer, "encoder")):
        check_tells_places(one, whose)
    spelt = [spell(ids, tokenizer, hidden_id) for ids in rows]
    reader = _reader(encoder_tokenizer)
    encoded = reader.encode_batch([text for text, _ in spelt])
    spans = [
        [(0, 0) if special else span for span, special in zip(one.offsets, one.special_tokens_mask, strict=True)]
        for one in encoded
    ]
    if not all(spans):
        raise ValueError(
            "A text of the batch spells no character that its encoder reads, and the encoder's tokenizer adds no "
            "special tokens to read instead: leave texts of spaces or special tokens alone out."
        )
    pieces = padded([one.ids for one in encoded])
    hidden = reader.token_to_id(mask_substitute(encoder_tokenizer))
    pieces = pieces.masked_fill(pieces == reader.token_to_id(HIDDEN), hidden)
    return AlignedText(
        pieces,
        real_places([len(row) for row in spans]),
        padded([[start for start, _ in row] for row in spans]),
        padded([[end for _, end in row] for row in spans]),
        padded([bounds for _, bounds in spelt]),
    )


def check_tells_places(tokenizer: PreTrainedTokenizerBase, whose: str) -> None:
    """Raises `ValueError` for a tokenizer without character offsets of its tokens."""
    if not tokenizer.is_fast:
        raise ValueError(
            f"The {whose}'s tokenizer ({type(tokenizer).__name__}) does not say which characters its tokens stand for: "
            "use a fast one (a tokenizer.json)."
        )


def spell(
    ids: Sequence[int], tokenizer: PreTrainedTokenizerBase, hidden_id: int | None = None
) -> tuple[str, list[int]]:
    """Decodes ids to a text, and the position of each one's first character, followed by the text's length.

    Special tokens have no characters, except `hidden_id`, which becomes `HIDDEN`; if tokens share a character, it
    counts for the last of them.
    """
    backend = tokenizer.backend_tokenizer
    stream, text, bounds = DecodeStream(skip_special_tokens=True), [], [0]
    for one in ids:
        piece = HIDDEN if one == hidden_id else (stream.step(backend, one) or "").replace(HIDDEN, "\ufffd")
        text.append(piece)
        bounds.append(bounds[-1] + len(piece))
    return "".join(text), bounds


def mask_substitute(tokenizer: PreTrainedTokenizerBase) -> str:
    """Returns the encoder's token for hidden tokens: its mask token, or else its unknown, padding or final token.

    Raises `ValueError` if it has none of them.
    """
    for token in (tokenizer.mask_token, tokenizer.unk_token, tokenizer.pad_token, tokenizer.eos_token):
        if token is not None:
            return str(token)
    raise ValueError(
        "The encoder's tokenizer has no mask, unknown, padding or final token, which it needs where tokens are hidden "
        "from it: give it one."
    )


# cached with its mutable settings, since copying a tokenizer with a large vocabulary is slow
_READERS: WeakKeyDictionary[PreTrainedTokenizerBase, tuple[Any, Any]] = WeakKeyDictionary()


def _reader(tokenizer: PreTrainedTokenizerBase) -> Any:
    """Returns a copy of a fast tokenizer's core in which `HIDDEN` is a token, and special tokens are plain text."""
    core = tokenizer.backend_tokenizer
    added = {number: repr(token) for number, token in core.get_added_tokens_decoder().items()}
    parts = core.normalizer, core.pre_tokenizer, core.post_processor
    now = [mask_substitute(tokenizer), len(tokenizer), added, *map(repr, parts)]
    if tokenizer not in _READERS or _READERS[tokenizer][1] != now:
        reader = copy.deepcopy(core)
        reader.no_truncation()
        reader.no_padding()
        reader.encode_special_tokens = True
        hidden = reader.token_to_id(mask_substitute(tokenizer))
        like = reader.get_added_tokens_decoder().get(hidden, AddedToken())
        sides = {name: getattr(like, name) for name in ("single_word", "lstrip", "rstrip")}  # whether it absorbs spaces
        reader.add_tokens([AddedToken(HIDDEN, normalized=False, special=False, **sides)])
        _READERS[tokenizer] = reader, now
    return _READERS[tokenizer][0]
