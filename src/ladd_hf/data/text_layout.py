"""The layout of a model's training blocks, stored in its configuration: the frame of the texts, and their lengths."""

from __future__ import annotations

import json
from collections import Counter
from itertools import islice
from typing import Any

import datasets
import numpy as np
from transformers.utils import logging

from ..models.text_frame import TextFrame
from .block_stream import BlockStream
from .transforms import has_transform

logger = logging.get_logger(__name__)

_NOTE = "Frame of the texts: "  # begins a line of a data set's description
_OF_A_STREAM = 10_000  # number of blocks whose lengths are counted
_ROWS_AT_ONCE = 10_000


def text_layout(blocks: Any) -> dict[str, Any]:
    """Returns the settings of a [`LaddConfig`] that describe blocks made by [`token_blocks`].

    `LaddConfig(..., **text_layout(blocks))` configures a model that frames texts as in these blocks, and, if texts are
    padded, draws the lengths of generated texts. [`LaddTrainer`] does the same for a model without a frame.

    Args:
        blocks: a `Dataset` or a [`BlockStream`], of one split.

    Returns `text_frame`, and for padded texts `text_lengths`: for a stream those of its first 10,000 blocks. Raises
    `ValueError` for a data set that was not made by `token_blocks`.
    """
    frame = frame_of(blocks)
    if frame is None:
        raise ValueError(
            f"The {type(blocks).__name__} does not tell how its texts are framed: give one split of what "
            "`token_blocks` returned, or set `text_frame` and `text_lengths` (see `length_histogram`) yourself."
        )
    layout: dict[str, Any] = {"text_frame": frame.to_dict()}
    if frame.packing == "pad" and frame.fill is None:
        layout["text_lengths"] = length_histogram(blocks)
    return layout


def frame_of(blocks: Any) -> TextFrame | None:
    """Returns the frame of the texts in these blocks; `None` if it is unknown or not unique."""
    if isinstance(blocks, BlockStream):
        return blocks.layout.frame
    description = getattr(getattr(blocks, "info", None), "description", None) or ""
    notes = {line.removeprefix(_NOTE) for line in description.splitlines() if line.startswith(_NOTE)}
    return TextFrame.from_dict(json.loads(notes.pop())) if len(notes) == 1 else None


def length_histogram(examples: Any) -> dict[str, int]:
    """Counts the examples of each length in tokens, without padding, in the form of `LaddConfig.text_lengths`.

    `examples` have `input_ids`, and an `attention_mask` if they are padded. For a stream the first 10,000 count.
    """
    counts: Counter[int] = Counter()
    if isinstance(examples, datasets.Dataset) and not has_transform(examples):
        column = "attention_mask" if "attention_mask" in examples.column_names else "input_ids"
        for table in examples.select_columns(column).with_format("arrow").iter(_ROWS_AT_ONCE):
            counts.update(_real_tokens(table[column].combine_chunks(), column).tolist())
    else:
        rows = examples.from_the_first() if isinstance(examples, BlockStream) else examples
        counts.update(
            int(np.sum(row["attention_mask"])) if "attention_mask" in row else len(row["input_ids"])
            for row in (rows if hasattr(rows, "__len__") else islice(rows, _OF_A_STREAM))
        )
    return {str(length): counts[length] for length in sorted(counts)}


def noted(blocks: datasets.Dataset, frame: TextFrame) -> datasets.Dataset:
    """Adds a line with the frame of the texts to the data set's description; returns the data set itself."""
    described = (blocks.info.description or "").splitlines()
    lines = [line for line in described if not line.startswith(_NOTE)]
    blocks.info.description = "\n".join([*lines, _NOTE + json.dumps(frame.to_dict())])
    return blocks


def adopt_layout(config: Any, blocks: Any) -> None:
    """Sets the frame of the training texts in a configuration that has none, and the current lengths of these texts.

    If the configuration has another frame, frame and lengths stay unchanged, and a warning is given. With the same
    frame the lengths become those of this training.
    """
    if (frame := frame_of(blocks)) is None:
        return
    if config.text_frame is None:
        config.text_frame = frame.to_dict()
    elif TextFrame.of(config) != frame:
        logger.warning_once(
            f"The training texts are framed by {frame.to_dict()}, and the model frames texts by {config.text_frame}, "
            "which stays: set `model.config.text_frame = None` before training for that of the training texts."
        )
        return
    config.text_lengths = length_histogram(blocks) if frame.packing == "pad" and frame.fill is None else None


def _real_tokens(column: Any, name: str) -> Any:
    """Returns the number of tokens of each row of an Arrow list column, without padding, `(n,)`."""
    lengths = column.value_lengths().to_numpy(zero_copy_only=False)
    if name == "input_ids":
        return lengths
    real = column.flatten().to_numpy(zero_copy_only=False).astype(np.int64)
    ends = np.concatenate([[0], np.cumsum(real)])
    borders = np.concatenate([[0], np.cumsum(lengths)])
    return ends[borders[1:]] - ends[borders[:-1]]
