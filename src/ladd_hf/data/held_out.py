"""Validation data held out of training texts, for corpora without a validation split.

A function of the texts alone, the same on disk and streamed. Of many files every n-th is held out, of many rows the
last ones, and of fewer the end of their text, from the beginning of a paragraph, line, sentence or word.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple, TypeVar

SHARE = 0.05  # one in twenty
_STARTS = ("\n\n", "\n", ". ", "。", " ")  # a held-out end begins after the first of these that occurs

T = TypeVar("T")


class Cut(NamedTuple):
    """Beginning of the held-out end of some texts: in text number `row`, at this `character`."""

    row: int
    character: int = 0

    def before(self, texts: Iterable[str | None]) -> Iterator[str | None]:
        """Yields the texts before the cut."""
        for number, text in enumerate(texts):
            if number < self.row:
                yield text
                continue
            if self.character:
                yield (text or "")[: self.character]
            return

    def behind(self, texts: Iterable[str | None]) -> Iterator[str | None]:
        """Yields the texts after the cut."""
        for number, text in enumerate(texts):
            if number == self.row and self.character:
                yield (text or "")[self.character :]
            elif number >= self.row:
                yield text


def check_share(share: float) -> float:
    """Returns the share as a number. Raises `ValueError` for an invalid one."""
    if isinstance(share, bool) or not isinstance(share, int | float) or not 0 <= share < 1:
        raise ValueError(
            f"`held_out` is {share!r}, but a share of 0 or more and below 1 is accepted: give the part of the texts to "
            "hold out for validation, such as 0.05, or 0 for none."
        )
    return float(share)


def parted(things: Sequence[T], share: float) -> tuple[list[T], list[T]] | None:
    """Returns the things that stay, and every n-th, held out; `None` for too few to hold one out."""
    if _number(len(things), share) < 1:
        return None
    held_out = [_number(place + 1, share) > _number(place, share) for place in range(len(things))]
    kept = [thing for thing, out in zip(things, held_out, strict=True) if not out]
    return kept, [thing for thing, out in zip(things, held_out, strict=True) if out]


def cut_of(number: int, texts: Iterable[str | None], share: float) -> Cut | None:
    """Returns the beginning of the held-out end of `number` texts; `None` if there is too little text.

    The texts are read only if there are too few of them to hold out whole ones.
    """
    if (last := _number(number, share)) >= 1:
        return Cut(number - last) if last < number else None
    rows = [text or "" for text in texts]
    size = sum(map(len, rows))
    place = math.floor(size * (1 - share))
    for row, text in enumerate(rows):
        if place < len(text):
            return _cut_within(rows, row, place, size)
        place -= len(text)
    return None


def _number(count: int, share: float) -> int:
    return math.floor(count * share + 1e-9)  # since 100 * 0.29 is less than 29


def _cut_within(rows: Sequence[str], row: int, place: int, size: int) -> Cut | None:
    """Returns a cut at or before this place in a text, within twice the share, if both sides have text to read."""
    text = rows[row]
    rest = size - sum(map(len, rows[:row])) - place  # characters after the place
    places = [found + len(mark) for mark in _STARTS if (found := text.rfind(mark, max(0, place - rest), place)) >= 0]
    for character in (*places, place):
        head, tail = (*rows[:row], text[:character]), (text[character:], *rows[row + 1 :])
        if any(map(str.strip, head)) and any(map(str.strip, tail)):
            return Cut(row, character)
    return None
