"""Checkpoints of a run: complete ones, the one to resume from, and the defects of the others.

A checkpoint is complete if it has all files needed for resuming, and none of them is truncated or visibly damaged. The
list of files that is written last (`checkpoint.json`, see `checkpoint_writing.py`) decides; for checkpoints without
one, the files themselves.
"""

from __future__ import annotations

import json
import pickle
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import torch
from accelerate.utils import broadcast_object_list
from safetensors import SafetensorError, safe_open
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR
from transformers.utils import logging

from ..utils.torch_files import archive_damage

logger = logging.get_logger(__name__)

MANIFEST = "checkpoint.json"
STATE_FILE = "trainer_state.json"
_NAME = re.compile(rf"{PREFIX_CHECKPOINT_DIR}-(\d+)")
_WEIGHTS = ("model.safetensors", "adapter_model.safetensors", "pytorch_model.bin", "adapter_model.bin")
_INDICES = ("model.safetensors.index.json", "pytorch_model.bin.index.json")
_CONFIGURATIONS = ("config.json", "adapter_config.json")  # needed to read the weights; they may have been edited
_ARCHIVES = (".pt", ".pth", ".bin")  # written by `torch.save`: zip files
_SHOWN = 5  # names in a message
_READ_AGAIN = (".safetensors", ".bin", ".pt", ".pth", ".distcp", ".metadata", ".index.json", STATE_FILE)
T = TypeVar("T")


def is_read_again(name: str) -> bool:
    """True if a file of this name in a checkpoint is read for resuming."""
    return name.endswith(_READ_AGAIN) and not name.endswith("training_args.bin")


def weight_files(checkpoint: str | Path) -> list[str]:
    """Returns the files with the model's weights in a checkpoint, and in folders of adapters in it."""
    folder = Path(checkpoint)
    shards = [
        shard for name in _INDICES if (folder / name).is_file() for shard in (name, *sorted(_shards(folder / name)))
    ]
    nested = [f"{inner.name}/{name}" for inner in sorted(folder.glob("*/")) for name in _WEIGHTS]
    return [name for name in (*_WEIGHTS, *shards, *nested) if (folder / name).is_file()]


def numbered_checkpoints(run: str | Path) -> list[Path]:
    """Returns the folders with a checkpoint's name, the last step's first."""
    found = [(_NAME.fullmatch(path.name), path) for path in Path(run).glob(f"{PREFIX_CHECKPOINT_DIR}-*")]
    steps = [(int(match[1]), path) for match, path in found if match and path.is_dir()]
    return [path for _, path in sorted(steps, reverse=True)]


def manifest_of(checkpoint: str | Path) -> dict[str, Any]:
    """Returns a checkpoint's list of files; an empty dict if it has none that can be read."""
    try:
        manifest = json.loads((Path(checkpoint) / MANIFEST).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return manifest if isinstance(manifest, dict) else {}


def last_whole_checkpoint(run: str | Path) -> str | None:
    """Returns the last checkpoint of a run that can be resumed, with a warning that names those skipped.

    `None` for a run without checkpoints. Raises `ValueError` if there are checkpoints and none is complete.
    """
    found = numbered_checkpoints(run)
    wrong: list[str] = []
    for path in found:
        defect = defect_of(path)
        if defect is None:
            if wrong:
                logger.warning(f"{'; '.join(wrong)}: skipped. The run goes on from {path.name}, the last whole one.")
            return str(path)
        wrong.append(f"{path.name} {defect}")
    if not found:
        return None
    raise ValueError(
        f"No checkpoint in {run} can be resumed: {'; '.join(wrong)}. Put the files back, or start a new run in another "
        "folder (`from_pretrained` of a checkpoint takes its weights)."
    )


def check_checkpoint(checkpoint: str | Path) -> None:
    """Raises `ValueError` for a folder that is not a complete checkpoint, naming its defect."""
    path = Path(checkpoint)
    if not path.is_dir():
        raise ValueError(f"{checkpoint} is not a folder; give that of a checkpoint, or `True` for the run's last.")
    inside = numbered_checkpoints(path)
    if inside and not (path / STATE_FILE).exists():
        raise ValueError(f"{checkpoint} holds checkpoints and is none itself: give one of them, such as {inside[0]}.")
    defect = defect_of(path)
    if defect is not None:
        raise ValueError(
            f"The checkpoint {checkpoint} cannot be resumed, it {defect}: put the files back, give another "
            "checkpoint, or start a new run (`from_pretrained` of the checkpoint takes its weights)."
        )


def defect_of(checkpoint: Path, thorough: bool = True) -> str | None:
    """Returns the reason why a checkpoint cannot be resumed, as a predicate such as "lacks optimizer.pt", or `None`.

    Args:
        checkpoint: its folder.
        thorough: also read the files that have checksums, which torch does not check.
    """
    manifest = manifest_of(checkpoint)
    if (checkpoint / MANIFEST).exists() and not isinstance(manifest.get("files"), dict):
        return f"has damaged files: {MANIFEST} (no list of files)"
    if manifest.get("save_only_model"):
        return "holds weights alone, for it was saved with `save_only_model`"
    sizes: dict[str, int] = manifest.get("files", {})
    missing = sorted({*(name for name in sizes if not (checkpoint / name).is_file()), *_missing(checkpoint)})
    if missing:
        alone = {"optimizer.pt", "scheduler.pt", "rng_state.pth"} <= set(missing) and not sizes
        hint = ", as if saved with `save_only_model`" if alone and STATE_FILE not in missing else ""
        return f"lacks {_some(missing)}{hint}"
    names = {*sizes} or {path.name for path in checkpoint.iterdir() if path.is_file() and is_read_again(path.name)}
    names |= {name for name in _CONFIGURATIONS if (checkpoint / name).is_file()}
    damages = {
        name: _cut(checkpoint / name, sizes.get(name)) or damage_of(checkpoint / name, thorough)
        for name in sorted(names)
    }
    damaged = [f"{name} ({damage})" for name, damage in damages.items() if damage]
    return f"has damaged files: {_some(damaged)}" if damaged else None


def _missing(checkpoint: Path) -> Iterator[str]:
    """Yields the names of files that are missing although every checkpoint has them."""

    def has(*names: str) -> bool:
        return any((checkpoint / name).is_file() for name in names)

    inner = [path for path in checkpoint.iterdir() if path.is_dir()]
    by_engine = has("latest")  # DeepSpeed keeps weights, optimiser and scheduler in a folder named by this file
    index = next((checkpoint / name for name in _INDICES if has(name)), None)
    sharded = any("pytorch_model_fsdp" in path.name for path in inner) or has("pytorch_model_fsdp.bin")
    adapters = any((path / name).is_file() for path in inner for name in _WEIGHTS if name.startswith("adapter"))
    if not (has(*_WEIGHTS) or index or sharded or adapters or by_engine):
        yield "model.safetensors"
    elif index is not None and not has(*_WEIGHTS):
        yield from (name for name in _shards(index) if not has(name))
    if not (has("optimizer.pt", "optimizer.bin") or any("optimizer" in path.name for path in inner) or by_engine):
        yield "optimizer.pt"
    if not (has("scheduler.pt") or by_engine):
        yield "scheduler.pt"
    processes = [
        int(match[1]) for p in checkpoint.iterdir() if (match := re.fullmatch(r"rng_state_(\d+)\.pth", p.name))
    ]
    if processes:
        yield from (f"rng_state_{n}.pth" for n in sorted(set(range(max(processes))) - set(processes)))
    elif not has("rng_state.pth"):
        yield "rng_state.pth"
    if not has(STATE_FILE):
        yield STATE_FILE


def _shards(index: Path) -> set[str]:
    """Returns the files listed in an index of weights; none if it cannot be read."""
    try:
        return set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())
    except (ValueError, KeyError, TypeError, AttributeError):  # reported by `damage_of`
        return set()


def _cut(path: Path, size: int | None) -> str | None:
    """Describes what is wrong with a file's size. Text files may have been edited."""
    found = path.stat().st_size
    return f"{found:,} bytes instead of {size:,}" if size not in (None, found) and path.suffix != ".json" else None


def damage_of(path: Path, thorough: bool = False) -> str | None:
    """Describes the damage of a file of tensors or JSON in a few words; `None` for an intact file, or of another kind.

    Args:
        path: of the file.
        thorough: read all of it, to check its checksum if it has one.
    """
    try:
        if path.suffix == ".safetensors":
            with safe_open(str(path), "pt"):
                pass
        elif path.suffix in _ARCHIVES:
            return archive_damage(path, thorough)
        elif path.suffix == ".json" and not isinstance(json.loads(path.read_text(encoding="utf-8")), dict):
            return "no object of JSON"
    except (SafetensorError, OSError, ValueError, RecursionError) as error:
        return " ".join(str(error).split())[:200] or type(error).__name__
    return None


@contextmanager
def reading(checkpoint: str | Path, *names: str) -> Iterator[None]:
    """Turns errors in reading and loading files of a checkpoint into a `ValueError` of one sentence that names the
    damaged file or, if all are intact, says that they are of another run.

    Args:
        checkpoint: its folder.
        names: of the files that are read; missing ones are ignored.
    """
    try:
        yield
    except torch.OutOfMemoryError:
        raise
    except Exception as e:  # of any kind: a damaged file may make torch raise anything
        for path in (Path(checkpoint) / name for name in names):
            if path.is_file() and (damage := damage_of(path, thorough=True)):
                raise ValueError(
                    f"The file {path} is damaged ({damage}): put it back, or give another checkpoint."
                ) from e
        raise ValueError(
            f"{_some(names)} in {checkpoint} do not fit this run ({_first_line(e)}): go on with the model, the "
            "optimiser and the settings that the checkpoint was saved with."
        ) from e


def agreed(decide: Callable[[], T]) -> T:
    """Returns in every process what the first one decides, or raises the `ValueError` that it raises."""
    decision: list[Any] = [None, None]
    if not torch.distributed.is_initialized() or torch.distributed.get_rank() == 0:
        try:
            decision = [decide(), None]
        except ValueError as error:
            decision = [None, str(error)]
    broadcast_object_list(decision)
    if decision[1] is not None:
        raise ValueError(decision[1])
    return decision[0]


def _first_line(error: BaseException) -> str:
    """Returns an error's reason without torch's advice, which for a pickle is to trust it."""
    if isinstance(error, pickle.UnpicklingError):
        return "it holds other objects than tensors and plain values"
    return " ".join(str(error).split())[:300]


def _some(names: Any) -> str:
    shown = list(names)
    more = f" and {len(shown) - _SHOWN} more" if len(shown) > _SHOWN else ""
    return ", ".join(shown[:_SHOWN]) + more
