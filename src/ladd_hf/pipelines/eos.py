"""End of generated texts: end-of-sequence ids, and cutting at the first of them."""

from __future__ import annotations

import torch
from torch import Tensor

from ..models.configuration_ladd import LaddConfig
from ..models.text_frame import TextFrame
from ..models.vocabulary import ids_of


def eos_ids(config: LaddConfig, stop: bool | None) -> list[int] | None:
    """Returns the ids that end a sequence, or `None` if none does. With `stop=None`, some do if the training texts were
    padded with end-of-sequence tokens.

    Raises `ValueError` if `stop` is true and the model has no such id.
    """
    frame = TextFrame.of(config)
    filled_with = frame.fill
    if stop is False or (stop is None and filled_with is None):
        return None
    # without an `eos_token_id`, the token that ended the training texts, such as SEP
    ids = {*(ids_of(config, "eos_token_id") or frame.end[-1:]), *([] if filled_with is None else [filled_with])}
    if not ids:
        raise ValueError(
            "`stop_at_eos` is set, but the model has no `eos_token_id`, nor a `text_frame` with an `end`: set one in "
            "the model's configuration."
        )
    return sorted(ids)


def bos_id(config: LaddConfig) -> int | None:
    """Returns the id that begins a sequence, or `None`."""
    start = TextFrame.of(config).start
    return start[0] if start else getattr(config, "bos_token_id", None)


def filler_id(config: LaddConfig, ends: list[int]) -> int:
    """Returns the id that follows the end of a text: padding, or end-of-sequence if the model has no padding."""
    padding = ids_of(config, "pad_token_id")
    return (padding or ends)[0]


def cut_at_eos(
    tokens: Tensor, lengths: Tensor, editable: Tensor, eos_ids: list[int], filler: int, bos_id: int | None = None
) -> tuple[Tensor, Tensor]:
    """Cuts each row after its first generated end-of-sequence token and fills the rest with `filler`.

    Tokens before the last given token do not count: they lie in a gap of the prompt. Nor does the first token of a row
    if the beginning-of-sequence token has the same id.

    Args:
        tokens: `(B, S)`.
        lengths: `(B,)` number of tokens of each row.
        editable: `(B, S)` bool, the tokens that were generated: a prompt may hold end-of-sequence tokens.
        eos_ids: the ids that end a sequence.
        filler: id that replaces all tokens after the end.
        bos_id: id that begins a sequence, if any.

    Returns the tokens and their new lengths, including the end-of-sequence token.
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
