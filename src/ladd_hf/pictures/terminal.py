"""A trajectory as coloured text in a terminal."""

from __future__ import annotations

from typing import Any

from ..utils.optional_packages import optional_package
from .frames import Piece, frames, wrapped
from .step_colours import step_colour
from .trajectory import GIVEN, MASKED, Trajectory


def show(trajectory: Trajectory, tokenizer: Any = None, row: int = 0, console: Any = None) -> None:
    """Prints a run, state by state: what a step writes has its colour, from yellow to blue, and is bold and underlined
    when it is new. Where the output is no terminal, it is plain text.

    Args:
        trajectory: a recorded run.
        tokenizer: of the texts; ids are shown without one.
        row: of the batch.
        console: a `rich.console.Console`; one of the standard output by default.

    Needs the extra `terminal`. Raises `ValueError` for a row that does not exist.
    """
    consoles, texts, styles = (
        optional_package(f"rich.{name}", "rich", "terminal", "Coloured text") for name in ("console", "text", "style")
    )
    console = consoles.Console() if console is None else console

    def style(piece: Piece) -> Any:
        if piece.step in (GIVEN, MASKED):
            return styles.Style(dim=piece.step == MASKED)
        red, green, blue = step_colour(piece.step, trajectory.num_steps)
        behind = f"#{red:02x}{green:02x}{blue:02x}"
        return styles.Style(color="#000000", bgcolor=behind, bold=piece.new, underline=piece.new)

    for frame in frames(trajectory, tokenizer, row):
        console.print(texts.Text(frame.title, styles.Style(bold=True)))
        lines = wrapped(frame.latents, console.width) if frame.latents else []
        for line in [*lines, *wrapped(frame.tokens, console.width)]:
            console.print(texts.Text.assemble(*((piece.text, style(piece)) for piece in line)), soft_wrap=True)
        console.print()
