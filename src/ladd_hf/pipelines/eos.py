"""Where a generated text ends."""

from __future__ import annotations

import torch
from torch import Tensor

from ..models.configuration_ladd import LaddConfig
from ..models.text_frame import TextFrame
from ..models.vocabulary import ids_of


def eos_ids(config: LaddConfig, stop: bool | None) -> list[int] | None:
    """The ids that end a sequence, `None` where none shall; `stop` of `None` leaves that to the model, whose texts end
    so if those of its training were filled up with end-of-sequence tokens.

    Raises `ValueError` for a model that has none.
    """
    frame = TextFrame.of(config)
    filled_with = frame.fill
    if stop is False or (stop is None and filled_with is None):
        return None
    # where no token has the name, the one that ended the texts of the training, such as a SEP
    ids = {*(ids_of(config, "eos_token_id") or frame.end[-1:]), *([] if filled_with is None else [filled_with])}
    if not ids:
        raise ValueError(
            "`stop_at_eos` is set, but the model has no `eos_token_id`, nor a `text_frame` with an `end`: set one in "
            "the model's configuration."
        )
    return sorted(ids)


def bos_id(config: LaddConfig) -> int | None:
    """The id that begins a sequence, or `None`."""
    start = TextFrame.of(config).start
    return start[0] if start else getattr(config, "bos_token_id", None)


def filler_id(config: LaddConfig, ends: list[int]) -> int:
    """What stands behind the end of a text: padding, or an end-of-sequence token again where there is none."""
    padding = ids_of(config, "pad_token_id")
    return (padding or ends)[0]


def cut_at_eos(
    tokens: Tensor, lengths: Tensor, editable: Tensor, eos_ids: list[int], filler: int, bos_id: int | None = None
) -> tuple[Tensor, Tensor]:
    """Ends each row with its first end-of-sequence token that was generated; `filler` stands after it.

    One that is followed by a token that was there from the start ends nothing: it stands in a gap. Nor does one that
    is the beginning-of-sequence token as well, where a row begins.

    Args:
        tokens: `(B, S)`.
        lengths: `(B,)` tokens of each row.
        editable: `(B, S)` bool, the tokens that were generated: a prompt may hold end-of-sequence tokens.
        eos_ids: the ids that end a sequence.
        filler: id that takes the place of what follows.
        bos_id: id that begins a sequence.

    Returns the tokens and their new lengths, the end-of-sequence token counted.
    """
    place = torch.arange(tokens.shape[1], device=tokens.device)
    given = ~editable & (place < lengths[:, None])
    last_given = torch.where(given, place, -1).amax(1)
    ends = torch.isin(tokens, torch.tensor(eos_ids, device=tokens.device)) & editable & (place > last_given[:, None])
    if bos_id is not None:
        ends[:, 0] &= tokens[:, 0] != bos_id
    first = torch.where(ends, place + 1, tokens.shape[1]).amin(1)
    lengths = torch.minimum(lengths, first)
    return tokens.masked_fill(place >= lengths[:, None], filler), lengths
