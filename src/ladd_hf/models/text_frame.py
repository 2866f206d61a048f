"""How a text stands in the examples that a model is trained on: what begins it, what ends it, what fills it up."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from numbers import Integral
from typing import Any

PACKINGS = ("pack", "wrap", "pad")


@dataclass(frozen=True)
class TextFrame:
    """The frame of a model's texts, which its configuration keeps as plain data (`LaddConfig.text_frame`).

    A text that is read by the model, whole or as the beginning of another, is framed as the examples of its training
    were; without a frame nothing is added.

    Args:
        packing: the mode of [`token_blocks`](data.token_blocks) that the examples were made by: `pack`, `wrap`, `pad`.
        start, end: ids that each example begins and ends with.
        fill: id that fills an example up behind its end, scored like any other, or `None`.
        length: tokens of an example that is filled up; `None` where there is no `fill`.

    Raises `ValueError` for what is no such thing.
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
        """The frame that a configuration keeps; of one that keeps none, the frame that adds nothing."""
        kept = getattr(config, "text_frame", None)
        return cls() if kept is None else cls.from_dict(kept)

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> TextFrame:
        """The frame of these entries, which [`TextFrame.to_dict`] gives."""
        known = [field.name for field in fields(cls)]
        if unknown := sorted(set(plain) - set(known)):
            raise ValueError(f"`text_frame` has the entries {unknown}; it has {', '.join(map(repr, known))}.")
        ends = {name: _listed(plain[name]) for name in ("start", "end") if name in plain}
        return cls(**{**plain, **ends})

    def to_dict(self) -> dict[str, Any]:
        """Plain data, as it is kept in a configuration."""
        return {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()}

    @property
    def ids(self) -> set[int]:
        """All ids that the frame writes."""
        return {*self.start, *self.end, *(() if self.fill is None else (self.fill,))}

    def begun(self, ids: Sequence[int]) -> list[int]:
        """The ids of a text that goes on behind them, with what begins it in front, unless it is there already."""
        start = list(self.start)
        return list(ids) if list(ids[: len(start)]) == start else [*start, *ids]

    def whole(self, ids: Sequence[int]) -> list[int]:
        """The ids of a whole text, with what begins and ends it, unless it is there already, and filled up."""
        framed, end = self.begun(ids), list(self.end)
        if framed[max(len(self.start), len(framed) - len(end)) :] != end:
            framed += end
        return framed if self.fill is None else framed + [self.fill] * (int(self.length or 0) - len(framed))


def _is_id(value: Any) -> bool:
    return isinstance(value, Integral) and not isinstance(value, bool) and int(value) >= 0


def _listed(value: Any) -> tuple[Any, ...]:
    return tuple(value) if isinstance(value, Sequence) and not isinstance(value, str) else (value,)
