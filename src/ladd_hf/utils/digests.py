"""Digests of weights and of saved models: short names of what numbers depend on."""

from __future__ import annotations

import functools
import hashlib
from pathlib import Path

import torch
from torch import nn

_LENGTH = 16
# Files of a saved model on which what it computes depends: configurations, weights and vocabularies.
_OF_MODELS = (".json", ".safetensors", ".bin", ".txt", ".model")


def fingerprint(model: nn.Module) -> str:
    """Returns a digest of all weights and buffers, which is the same in whatever order they are named."""
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()[:_LENGTH]


def folder_digest(folder: str | Path) -> str:
    """Returns a digest of the names and contents of a saved model's files, wherever the folder is."""
    digest = hashlib.sha256()
    for path in sorted(Path(folder).iterdir()):
        if path.is_file() and path.suffix in _OF_MODELS:
            state = path.stat()
            digest.update(f"{path.name} {_file_digest(path, state.st_size, state.st_mtime_ns)}\n".encode())
    return digest.hexdigest()[:_LENGTH]


def text_digest(text: str) -> str:
    """Returns a digest of a text."""
    return hashlib.sha256(text.encode()).hexdigest()[:_LENGTH]


@functools.lru_cache(maxsize=256)
def _file_digest(path: Path, size: int, changed: int) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
