"""Reading of foreign `torch.save` files without running code from them, and diagnosis of damaged ones."""

from __future__ import annotations

import os
import pickle
import re
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.serialization import get_unsafe_globals_in_checkpoint

_OLD_FORMAT = b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9"  # beginning of files of torch before 1.6
_SHOWN = 5  # names in a message


class OtherObjectsError(ValueError):
    """A file holds more than tensors and plain values; `names` are the objects' classes and functions."""

    def __init__(self, path: str | os.PathLike, names: list[str]) -> None:
        self.names = names
        super().__init__(f"{path} holds other objects than tensors and plain values: {', '.join(names[:_SHOWN])}.")


def read_torch_file(path: str | os.PathLike) -> Any:
    """Returns the contents of a file of `torch.save`, on the CPU.

    Raises `ValueError` for an invalid or damaged file, `OtherObjectsError` for one with more than tensors and plain
    values, `OSError` for one that does not exist.
    """
    path = Path(path)
    if not path.is_file():
        raise OSError(f"{path} is not a file; give one that is.")
    with path.open("rb") as file:
        beginning = file.read(len(_OLD_FORMAT))
    if not zipfile.is_zipfile(path) and beginning != _OLD_FORMAT:
        cut = " It begins as one does: it is cut off, so fetch it again." if beginning.startswith(b"PK") else ""
        raise ValueError(f"{path} is no file of torch, as checkpoints with the ending .ckpt, .pt and .bin are.{cut}")
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except torch.OutOfMemoryError:
        raise
    except Exception as error:  # of any kind: a damaged file may make torch raise anything
        others = _other_objects(path, error) if isinstance(error, pickle.UnpicklingError) else []
        if others:
            raise OtherObjectsError(path, others) from error
        damage = archive_damage(path, thorough=True) if beginning != _OLD_FORMAT else None
        raise ValueError(f"{path} is damaged ({damage or type(error).__name__}): fetch it again.") from error


def archive_damage(path: Path, thorough: bool = False) -> str | None:
    """Describes the damage of the zip archive of a `torch.save` file in a few words; `None` for an intact one.

    Args:
        path: of the file.
        thorough: read all of it, to verify its checksums, which torch does not.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            wrong = archive.testzip() if thorough else None
    except (zipfile.BadZipFile, OSError, ValueError) as error:
        return " ".join(str(error).split()) or type(error).__name__
    return None if wrong is None else "its checksum is wrong"


def check_weights(weights: Mapping[Any, Any], origin: str) -> None:
    """Raises `ValueError` unless these are plain tensors of finite numbers by name, stored completely."""
    wrong = [str(name) for name, weight in weights.items() if not isinstance(name, str) or not _is_plain(weight)]
    if wrong:
        raise ValueError(f"{origin} has weights that are no plain tensors: {_some(wrong)}.")
    wrong = [name for name, weight in weights.items() if weight.is_floating_point() and not weight.isfinite().all()]
    if wrong:
        raise ValueError(f"{origin} has weights that are not finite: {_some(wrong)}. Give an earlier one of its run.")


def _is_plain(weight: Any) -> bool:
    if not isinstance(weight, Tensor) or weight.layout != torch.strided or weight.is_quantized or weight.is_complex():
        return False
    # A small storage may claim to be a tensor of any size, which would then be allocated.
    return weight.device.type == "cpu" and weight.numel() * weight.element_size() <= weight.untyped_storage().nbytes()


def _other_objects(path: Path, error: pickle.UnpicklingError) -> list[str]:
    """Returns the names of classes and functions that a file refers to; an empty list for a damaged file."""
    try:
        return sorted(get_unsafe_globals_in_checkpoint(path))
    except Exception:  # a damaged pickle, or one of the old format, which torch does not inspect
        return re.findall(r"GLOBAL ([\w.]+)", str(error))


def _some(names: list[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more
