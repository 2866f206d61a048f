"""The time square as a drawing in SVG: the points of a run, and how far it has walked."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from ..diffusion.paths import Point
from .coloured import colour_of

_SIZE, _LEFT, _TOP = 180, 34, 12  # of the square, and the room for its letters, in pixels


def square(points: Sequence[Point], walked: int, latents: bool = True) -> str:
    """Returns the time square as SVG: tokens' time to the right, latents' time upwards, noise at both ends.

    Args:
        points: of the run, (t_x, t_y) each, first to last.
        walked: number of its steps that are done; these have their colours, the others are grey.
        latents: False for a model without, whose runs stay on the axis of tokens.
    """
    steps = len(points) - 1
    places = [_place(point if latents else (point[0], 0.0)) for point in points]
    lines = [
        f'<line x1="{x:.1f}" y1="{y:.1f}" x2="{u:.1f}" y2="{v:.1f}" class="{"ladd-walked" if done else "ladd-ahead"}"'
        f"{_stroke(number, steps) if done else ''}/>"
        for number, ((x, y), (u, v)) in enumerate(pairwise(places), 1)
        for done in [number <= walked]
    ]
    dots = [
        f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{7 if number == walked else 3}"'
        f' class="{"ladd-here" if number == walked else "ladd-point"}"/>'
        for number, (x, y) in enumerate(places)
    ]
    bottom, right = _TOP + _SIZE, _LEFT + _SIZE
    letters = (
        f'<text x="{_LEFT}" y="{bottom + 16}">0</text><text x="{right}" y="{bottom + 16}">1</text>'
        f'<text x="{_LEFT + _SIZE / 2}" y="{bottom + 16}">time of tokens</text>'
        f'<text x="{_LEFT - 10}" y="{_TOP + 6}">1</text>'
        f'<text x="{_LEFT - 12}" y="{_TOP + _SIZE / 2}" transform="rotate(-90 {_LEFT - 12} {_TOP + _SIZE / 2})">'
        f"{'time of latents' if latents else 'no latents'}</text>"
    )
    return (
        f'<svg class="ladd-square" viewBox="0 0 {right + 16} {bottom + 26}" width="{right + 16}" role="img" '
        f'aria-label="The time square: step {walked} of {steps}">'
        f'<rect x="{_LEFT}" y="{_TOP}" width="{_SIZE}" height="{_SIZE}"/>{"".join(lines)}{"".join(dots)}{letters}</svg>'
    )


def _place(point: Point) -> tuple[float, float]:
    return _LEFT + _SIZE * point[0], _TOP + _SIZE * (1 - point[1])


def _stroke(number: int, steps: int) -> str:
    return f' style="stroke:{colour_of(number, steps)}"'
