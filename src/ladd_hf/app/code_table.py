"""Codes over time as a table: a row for each step, a column for each latent."""

from __future__ import annotations

from ..pictures.frames import MASK
from ..pictures.trajectory import MASKED, Trajectory
from .coloured import colour_of


def code_table(trajectory: Trajectory, num_steps: int, row: int = 0) -> str:
    """Returns the codes of each state of a row of a trajectory so far as an HTML table, coloured by the steps, of
    `num_steps`, that wrote them; nothing for latents that are no codes."""
    if trajectory.codes is None or trajectory.code_steps is None:
        return ""
    codes, steps = (one[:, row].tolist() for one in (trajectory.codes, trajectory.code_steps))
    head = "".join(f"<th>{place}</th>" for place in range(1, len(codes[0]) + 1))
    lines = [
        f"<tr><th>{number}</th>{''.join(map(_cell, state, wrote, [num_steps] * len(state)))}</tr>"
        for number, (state, wrote) in enumerate(zip(codes, steps, strict=True))
    ]
    return f'<table class="ladd-codes"><tr><th>step</th>{head}</tr>{"".join(lines)}</table>'


def _cell(code: int, step: int, num_steps: int) -> str:
    if step == MASKED:
        return f'<td class="ladd-mask">{MASK}</td>'
    return f"<td{_style(step, num_steps)}>{code}</td>"


def _style(step: int, num_steps: int) -> str:
    return f' style="background:{colour_of(step, num_steps)};color:#000"' if step > 0 else ""
