"""The frame of texts in training examples: the tokens that begin, end and fill them up."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from numbers import Integral
from typing import Any

PACKINGS = ("pack", "wrap", "pad")


@dataclass(frozen=True)
class TextFrame:
    """The frame of a model's texts, stored in its configuration as plain data (`LaddConfig.text_frame`).

    A text that the model reads, complete or as the beginning of another, is framed as its training examples were;
    without a frame nothing is added.

    Args:
        packing: the mode of [`token_blocks`] for the examples: `pack`, `wrap`, `pad`.
        start, end: first and last ids of each example.
        fill: id that fills up an example after its end, scored like any other, or `None`.
        length: number of tokens of an example that is filled up; `None` without `fill`.

    Raises `ValueError` for invalid values.
    """

    packing: str = "pack"
    start: tuple[int, ...] = ()
    end: tuple[int, ...] = ()
    fill: int | None = None
    length: int | None = None

    def __post_init__(self) -> None:
        ids_given = all(map(_is_id, [*self.start, *self.end, *([] if self.fill is None else [self.fill])]))
        ends = len(self.start) + len(self.end)
        length_fits = self.length is None if self.fill is None else _is_id(self.length) and int(self.length or 0) > ends
        if self.packing not in PACKINGS or not ids_given or not length_fits:
            raise ValueError(
                f"`text_frame` is {self.to_dict()}; give `packing` ({', '.join(map(repr, PACKINGS))}), lists of token "
                "ids `start` and `end`, and `fill` and `length` both or neither: `text_layout` of the training blocks."
            )

    @classmethod
    def of(cls, config: Any) -> TextFrame:
        """Returns the frame of a configuration; without one, the frame that adds nothing."""
        kept = getattr(config, "text_frame", None)
        return cls() if kept is None else cls.from_dict(kept)

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> TextFrame:
        """Inverts [`TextFrame.to_dict`]."""
        known = [field.name for field in fields(cls)]
        if unknown := sorted(set(plain) - set(known)):
            raise ValueError(f"`text_frame` has the entries {unknown}; it has {', '.join(map(repr, known))}.")
        ends = {name: _listed(plain[name]) for name in ("start", "end") if name in plain}
        return cls(**{**plain, **ends})

    def to_dict(self) -> dict[str, Any]:
        """Returns plain data, as stored in a configuration."""
        return {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()}

    @property
    def ids(self) -> set[int]:
        """Every id in the frame."""
        return {*self.start, *self.end, *(() if self.fill is None else (self.fill,))}

    def begun(self, ids: Sequence[int]) -> list[int]:
        """Returns the ids of the beginning of a text, preceded by `start` unless it is there already."""
        start = list(self.start)
        return list(ids) if list(ids[: len(start)]) == start else [*start, *ids]

    def whole(self, ids: Sequence[int]) -> list[int]:
        """Returns the ids of a complete text, with `start` and `end` unless they are there already, and filled up."""
        framed, end = self.begun(ids), list(self.end)
        if framed[max(len(self.start), len(framed) - len(end)) :] != end:
            framed += end
        return framed if self.fill is None else framed + [self.fill] * (int(self.length or 0) - len(framed))


def _is_id(value: Any) -> bool:
    return isinstance(value, Integral) and not isinstance(value, bool) and int(value) >= 0


def _listed(value: Any) -> tuple[Any, ...]:
    return tuple(value) if isinstance(value, Sequence) and not isinstance(value, str) else (value,)
