"""Pieces of a text as HTML, in the colours of the steps that wrote them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from html import escape

from ..pictures.frames import MASK, Frame, Piece
from ..pictures.step_colours import step_colour
from ..pictures.trajectory import MASKED


def coloured(pieces: Sequence[Piece], num_steps: int) -> str:
    """Returns pieces as HTML: masks are grey, and what a step wrote has its colour, with a frame while it is new.

    What was given, or is between codes, has no colour. Texts are escaped.
    """
    return f'<div class="ladd-text">{"".join(_span(piece, num_steps) for piece in pieces)}</div>'


def running(frame: Frame) -> tuple[Piece, ...]:
    """Returns the tokens of the last frame of a run that still goes on: a mask there is of one symbol, since nobody
    knows how long its text will be."""
    return tuple(replace(piece, text=MASK) if piece.step == MASKED else piece for piece in frame.tokens)


def legend(num_steps: int) -> str:
    """Returns the colours of the steps as HTML."""
    boxes = "".join(_span(Piece(str(step), step), num_steps) for step in range(1, num_steps + 1))
    return f'<div class="ladd-legend">written in step {boxes}</div>'


def colour_of(step: int, num_steps: int) -> str:
    """Returns the colour of a step, from 1, as CSS takes it."""
    red, green, blue = step_colour(min(step, num_steps), num_steps)
    return f"#{red:02x}{green:02x}{blue:02x}"


def _span(piece: Piece, num_steps: int) -> str:
    text = escape(piece.text).replace("\n", "<br>")
    if piece.step == MASKED:
        return f'<span class="ladd-mask">{text}</span>'
    if piece.step < 1:
        return f"<span>{text}</span>"
    new = " ladd-new" if piece.new else ""
    style = f"background:{colour_of(piece.step, num_steps)}"
    return f'<span class="ladd-step{new}" style="{style}" title="step {piece.step}">{text}</span>'
