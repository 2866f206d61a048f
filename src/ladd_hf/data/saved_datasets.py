"""Texts in folders written by `save_to_disk` of the library `datasets`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import datasets
import pyarrow as pa

from .held_out import SHARE, Cut, check_share, cut_of
from .text_files import only_text

_SHOWN = 5  # folders named in an error
_FEATURES = datasets.Features({"text": datasets.Value("string")})


def is_saved_dataset(path: Path) -> bool:
    """True if a folder is a data set of `datasets`, or a dict of them by split, complete or not."""
    if (path / "dataset_dict.json").is_file():
        return True
    has_state, has_info = (path / "state.json").is_file(), (path / "dataset_info.json").is_file()
    # other Arrow files beside an info are those of the cache of `datasets`
    pattern = "*.arrow" if has_state else "data-*-of-*.arrow"
    return (has_state and has_info) or ((has_state or has_info) and any(path.glob(pattern)))


def refuse_several(path: Path) -> None:
    """Raises `ValueError` for a folder that is not a data set itself but contains some, hidden folders aside."""
    marked = (file.parent for mark in ("state.json", "dataset_dict.json") for file in path.rglob(mark))
    inside = {
        folder.relative_to(path)
        for folder in marked
        if is_saved_dataset(folder) and not any(part.startswith(".") for part in folder.relative_to(path).parts)
    }
    names = [repr(str(folder)) for folder in sorted(inside) if not inside.intersection(folder.parents)]
    if not names:
        return
    shown = ", ".join(names[:_SHOWN]) + (", ..." if len(names) > _SHOWN else "")
    raise ValueError(
        f"The folder {path} holds data sets of `save_to_disk` ({shown}), but is none itself: give one of them, or one "
        'folder with all splits, which `DatasetDict({"train": ..., "validation": ...}).save_to_disk` writes.'
    )


def load_saved_dataset(
    path: Path, streaming: bool = False, text_column: str = "text", held_out: float = SHARE
) -> dict[str, Any]:
    """Loads the texts by split, with one column `text`; a data set without splits is training data.

    Args:
        path: the folder.
        streaming: return streams.
        text_column: the column with the texts.
        held_out: the share that becomes the split `validation` if there is only training data; see
            `ladd_hf.data.held_out`.

    Raises `ValueError` for an incomplete folder, and for one without texts or without that column.
    """
    share = check_share(held_out)
    try:
        # `[`, `*` and `?` in the folder's name are taken literally
        saved = datasets.load_from_disk(str(path))
    except (OSError, ValueError, LookupError, TypeError, pa.ArrowException) as error:
        raise ValueError(
            f"The folder {path} was written by `save_to_disk`, but is damaged, or without rows ({error}): write it "
            "again."
        ) from error
    splits = dict(saved) if isinstance(saved, datasets.DatasetDict) else {"train": saved}
    texts = {str(name): only_text(data.with_format(None), text_column, str(path)) for name, data in splits.items()}
    if share and texts.keys() == {"train"}:
        texts = _with_held_out(texts["train"], share)
    return {name: data.to_iterable_dataset() for name, data in texts.items()} if streaming else texts


def _with_held_out(data: datasets.Dataset, share: float) -> dict[str, datasets.Dataset]:
    cut = cut_of(len(data), (row["text"] for row in data), share)
    if cut is None:
        return {"train": data}
    if not cut.character:
        return {"train": data.select(range(cut.row)), "validation": data.select(range(cut.row, len(data)))}
    return {"train": _taken(cut, data, False), "validation": _taken(cut, data, True)}


def _taken(cut: Cut, data: datasets.Dataset, behind: bool) -> datasets.Dataset:
    texts = (row["text"] for row in data)
    return datasets.Dataset.from_dict({"text": [*(cut.behind(texts) if behind else cut.before(texts))]}, _FEATURES)
