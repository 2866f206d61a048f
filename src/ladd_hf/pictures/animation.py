"""A trajectory as an animated picture."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..utils.number_ranges import COUNT, POSITIVE
from ..utils.optional_packages import optional_package
from .frames import Frame, Piece, frames, wrapped
from .step_colours import step_colour
from .trajectory import GIVEN, MASKED, Trajectory

_WHITE, _BLACK, _GREY = (255, 255, 255), (0, 0, 0), (150, 150, 150)
_SIZE, _MARGIN = 15, 12  # of letters, and around them, in pixels
_COLOURS = 64  # of a frame, with the shades at the edges of letters


def gif(
    trajectory: Trajectory,
    path: str | Path,
    tokenizer: Any = None,
    row: int = 0,
    columns: int = 64,
    seconds: float = 0.5,
) -> None:
    """Writes an animated GIF: a frame before the first step and one after each.

    Letters are of one width. What a step writes has its colour, from yellow to blue, and a frame around it when it is
    new. Codes are shown above the text; of continuous latents a bar shows their time.

    Args:
        trajectory: a recorded run.
        path: file to write.
        tokenizer: of the texts; ids are shown without one.
        row: of the batch.
        columns: symbols of a line.
        seconds: of a frame; the last one is held four times as long.

    Needs the extra `plot`. Raises `ValueError` for a row that does not exist, and for numbers out of range.
    """
    COUNT.check("columns", columns)
    POSITIVE.check("seconds", seconds)
    shown = frames(trajectory, tokenizer, row)
    draw = _Painter(columns, shown[-1])
    images = [draw.frame(one) for one in shown]
    durations = [round(1000 * seconds)] * trajectory.num_steps + [round(4000 * seconds)]
    images[0].save(path, format="GIF", save_all=True, append_images=images[1:], duration=durations, loop=0)


class _Painter:
    """Draws frames of the size of the last one."""

    def __init__(self, columns: int, last: Frame) -> None:
        purpose = "An animation"
        self.images, self.drawing, fonts = (
            optional_package(f"PIL.{name}", "pillow", "plot", purpose) for name in ("Image", "ImageDraw", "ImageFont")
        )
        matplotlib = optional_package("matplotlib", "matplotlib", "plot", purpose)
        file = Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSansMono.ttf"
        self.font = fonts.truetype(str(file), _SIZE)
        self.advance, self.line = self.font.getlength("M"), round(1.5 * _SIZE)
        self.columns = columns
        lines = self._lines(last)
        longest = max(len(last.title), *(sum(len(piece.text) for piece in line) for line in lines))
        self.size = (round(longest * self.advance) + 2 * _MARGIN, len(lines) * self.line + 2 * _MARGIN)

    def frame(self, frame: Frame) -> Any:
        """Returns a frame as an image of few colours."""
        image = self.images.new("RGB", self.size, _WHITE)
        draw = self.drawing.Draw(image)
        for number, line in enumerate(self._lines(frame)):
            x, y = float(_MARGIN), _MARGIN + number * self.line
            for piece in line:
                end = x + len(piece.text) * self.advance
                self._box(draw, piece, (round(x), y, round(end) - 1, y + self.line - 3), frame)
                draw.text((x, y + 1), piece.text, _GREY if piece.step == MASKED else _BLACK, font=self.font)
                x = end
        return image.quantize(_COLOURS)

    def _lines(self, frame: Frame) -> list[list[Piece]]:
        latents = [*wrapped(frame.latents, self.columns), []] if frame.latents else []
        return [[Piece(frame.title, GIVEN)], [], *latents, *wrapped(frame.tokens, self.columns)]

    def _box(self, draw: Any, piece: Piece, box: tuple[int, int, int, int], frame: Frame) -> None:
        if piece.step > GIVEN:
            draw.rectangle(box, step_colour(piece.step, frame.num_steps), _BLACK if piece.new else None)
