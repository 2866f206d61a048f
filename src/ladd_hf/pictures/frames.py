"""Frames of a trajectory: pieces of text with the steps that wrote them, for pictures and terminals."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from ..diffusion.paths import Point
from ..utils.wrong_objects import described
from .trajectory import GIVEN, MASKED, Trajectory

MASK = "░"
_CLEAN = "█"
_BAR = 24  # symbols of the bar of continuous latents


@dataclass(frozen=True)
class Piece:
    """Text of a token or of a code.

    Attributes:
        text: what is shown, in which line breaks are `↵` and a line break; masks are as long as the final text.
        step: the step that wrote it, `GIVEN` or `MASKED`.
        new: True in the frame of that step.
    """

    text: str
    step: int
    new: bool = False


GAP = Piece(" ", GIVEN)  # between codes


@dataclass(frozen=True)
class Frame:
    """One state of a row.

    Attributes:
        step, num_steps: number of the state, from 0, and of the run's steps.
        time: point (t_x, t_y) of the state.
        tokens: pieces of the text.
        latents: pieces of its codes, a bar that fills as continuous latents lose their noise, or nothing.
    """

    step: int
    num_steps: int
    time: Point
    tokens: tuple[Piece, ...]
    latents: tuple[Piece, ...]

    @property
    def title(self) -> str:
        """The step and its times in words."""
        number = f"{self.step:>{len(str(self.num_steps))}}"
        times = f"step {number} of {self.num_steps}   t_x {self.time[0]:.3f}"
        return f"{times}   t_y {self.time[1]:.3f}" if self.latents else times


def frames(trajectory: Trajectory, tokenizer: Any = None, row: int = 0) -> list[Frame]:
    """Returns the N + 1 frames of a row of a trajectory.

    A token's text is what it adds to the text before it; without a tokenizer ids are shown. All frames are laid out
    alike: a mask is as long as what is written there in the end.

    Raises `ValueError` for a row that does not exist.
    """
    rows = trajectory.tokens.shape[1]
    if not isinstance(row, int) or isinstance(row, bool) or not 0 <= row < rows:
        raise ValueError(f"`row` is {described(row)}; give a row of the batch, from 0 to {rows - 1}.")
    length = int(trajectory.lengths[row])
    states = trajectory.tokens[:, row, :length].tolist()
    steps = trajectory.steps[:, row, :length].tolist()
    shown = _texts(states, trajectory.mask_token_id, tokenizer)
    return [
        Frame(
            number,
            len(trajectory.run) - 1,
            trajectory.times[number],
            tuple(map(_piece, shown[number], shown[-1], steps[number], [number] * length)),
            _latents(trajectory, row, number),
        )
        for number in range(len(states))
    ]


def wrapped(pieces: Sequence[Piece], columns: int) -> list[list[Piece]]:
    """Returns pieces in lines of at most `columns` symbols, broken where a text breaks; a piece that is longer than
    what is left of a line begins the next one."""
    lines: list[list[Piece]] = [[]]
    room = columns
    for piece in pieces:
        if piece is GAP and not room:
            continue  # the line's end is gap enough
        for number, part in enumerate(piece.text.split("\n")):
            if number:
                lines.append([])
                room = columns
            while part:
                if not room or room < len(part) <= columns:
                    lines.append([])
                    room = columns
                lines[-1].append(replace(piece, text=part[:room]))
                part, room = part[room:], max(room - len(part), 0)
    return lines


def _piece(text: str, final: str, step: int, number: int) -> Piece:
    if step == MASKED:
        return Piece("".join(one if one == "\n" else MASK for one in final), step)
    return Piece(text + " " * (len(final) - len(text)), step, step == number != GIVEN)


def _texts(states: list[list[int]], mask_id: int, tokenizer: Any) -> list[list[str]]:
    """Returns the text of each token of each state."""
    if tokenizer is None:
        widest = max((len(str(one)) for state in states for one in state if one != mask_id), default=1)
        gap = " " if widest > 1 else ""  # digits alone stand together
        return [[f"{one:>{widest}}{gap}" for one in state] for state in states]
    final = [_visible(text) for text in added_texts(states[-1], tokenizer)]
    alone = {one: _visible(tokenizer.decode([one])) for state in states for one in state}
    return [
        [final[place] if one == states[-1][place] else alone[one] for place, one in enumerate(state)]
        for state in states
    ]


def added_texts(ids: Sequence[int], tokenizer: Any) -> list[str]:
    """Returns what each token adds to the text before it, or, if it changes that text, its own."""
    texts, before = [], ""
    for place, one in enumerate(ids):
        now = tokenizer.decode(ids[: place + 1])
        texts.append(now[len(before) :] if now.startswith(before) else tokenizer.decode([one]))
        before = now
    return texts


def _visible(text: str) -> str:
    """Returns a text without symbols that move what follows them."""
    shown = "".join(one if one.isprintable() or one == "\n" else " " if one.isspace() else "·" for one in text)
    return shown.replace("\n", "↵\n") or "·"


def _latents(trajectory: Trajectory, row: int, number: int) -> tuple[Piece, ...]:
    if trajectory.latents is None:
        return ()
    if trajectory.codes is None or trajectory.code_steps is None:
        clean = round(_BAR * (1 - trajectory.times[number][1]))
        return Piece(_CLEAN * clean, GIVEN), Piece(MASK * (_BAR - clean), MASKED)
    width = len(str(max((trajectory.code_mask_id or 1) - 1, 0)))
    codes, steps = (one[number, row].tolist() for one in (trajectory.codes, trajectory.code_steps))
    pieces = []
    for code, step in zip(codes, steps, strict=True):
        text = MASK * width if step == MASKED else f"{code:>{width}}"
        pieces += [Piece(text, step, step == number != GIVEN), GAP]
    return tuple(pieces[:-1])
