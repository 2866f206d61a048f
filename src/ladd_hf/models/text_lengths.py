"""Lengths of generated texts, drawn from those of the data, row by row."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import accumulate

from ..diffusion.rng import RowGenerator
from ..utils.number_ranges import COUNT


def check_lengths(lengths: Mapping[str, int], longest: int) -> None:
    """Raises `ValueError` unless these are counts of texts of 1 to `longest` tokens."""
    for length, count in lengths.items():
        fits = length in map(str, range(1, longest + 1))
        if not fits or count not in COUNT:
            raise ValueError(
                f"`text_lengths` counts {count!r} texts of {length!r} tokens; give how many texts, 1 or more, have "
                f'each length from 1 to {longest} that occurs, such as {{"3": 20, "4": 10}}.'
            )
    if not lengths:
        raise ValueError("`text_lengths` counts no text: leave it out, or give how many texts have each length.")


def draw_lengths(lengths: Mapping[str, int], at_least: Sequence[int], random: RowGenerator) -> list[int]:
    """Draws a length for each row, by its own random number, from the texts that are at least as long as `at_least`.

    The streams of `random` do not advance: a text with a drawn length equals the text with that length given.

    Args:
        lengths: number of texts of each length.
        at_least: the least length of each row.
        random: the rows' random numbers.

    Raises `ValueError` if no text is that long.
    """
    counts = sorted((int(length), count) for length, count in lengths.items())
    drawn = []
    for row, (least, share) in enumerate(zip(at_least, random.aside().uniform().tolist(), strict=True)):
        allowed = [(length, count) for length, count in counts if length >= least]
        if not allowed:
            raise ValueError(
                f"The prompt of row {row} has {least} tokens, and the model's training texts at most {counts[-1][0]}, "
                "so that no length can be drawn for it: give a `length`."
            )
        total = sum(count for _, count in allowed)
        place = min(int(share * total), total - 1)  # index of the drawn text among those allowed
        seen = accumulate(count for _, count in allowed)
        drawn.append(next(length for (length, _), end in zip(allowed, seen, strict=True) if place < end))
    return drawn
