"""Strict loading of weights, with errors where transformers would continue with incomplete ones."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from transformers.utils import SAFE_WEIGHTS_INDEX_NAME, SAFE_WEIGHTS_NAME

_SHOWN = 5  # names in a message


@contextmanager
def clear_adapter_errors(source: Any) -> Iterator[None]:
    """Context in which errors of an adapter's two files name the adapter: `OSError` for missing or damaged files,
    `ValueError` for those that peft does not accept."""
    try:
        yield
    except SafetensorError as error:
        raise OSError(
            f"The weights of the adapter {source} are no whole safetensors file ({error}): fetch or save them again."
        ) from error
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise OSError(
            f"The `adapter_config.json` of the adapter {source} is no whole JSON file ({error}): save it again."
        ) from error
    except FileNotFoundError as error:
        raise OSError(
            f"The adapter {source} is not whole ({error}): it has an `adapter_config.json` and an "
            "`adapter_model.safetensors`; fetch or save it again."
        ) from error
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(
            f"The adapter {source} is none that this version of peft can load ({error}): fetch or save it again, with "
            "the version that is installed here."
        ) from error


@contextmanager
def clear_errors(source: Any, options: Mapping[str, Any]) -> Iterator[None]:
    """Context in which errors of files are one sentence: truncated weights, and pickled ones without permission."""
    try:
        yield
    except SafetensorError as error:
        raise OSError(
            f"The weights in {source} are no whole safetensors file ({error}): fetch or save them again."
        ) from error
    except OSError as error:
        folder = Path(str(source)) / options.get("subfolder", "")
        pickled = sorted(path.name for path in folder.glob("pytorch_model*.bin")) if folder.is_dir() else []
        if pickled and options.get("use_safetensors"):
            raise OSError(
                f"{source} holds its weights as a pickle ({pickled[0]}), which can run code when it is read, not as "
                "safetensors: if you trust it, give `use_safetensors=False`, and save the model again."
            ) from error
        raise


def check_index(folder: Any, options: Mapping[str, Any]) -> None:
    """Raises `OSError` for an invalid index of safetensors files in a folder: transformers' error lacks its name.

    `options` are those of `from_pretrained`; anything but a folder is ignored.
    """
    file = Path(str(folder)) / options.get("subfolder", "") / SAFE_WEIGHTS_INDEX_NAME
    if not file.is_file() or file.with_name(SAFE_WEIGHTS_NAME).is_file():
        return
    try:
        index = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise OSError(f"{file} is no whole JSON file ({error}): fetch or save the model again.") from error
    metadata, files = (index.get(part) if isinstance(index, dict) else None for part in ("metadata", "weight_map"))
    if not (
        isinstance(metadata, dict) and isinstance(files, dict) and all(isinstance(one, str) for one in files.values())
    ):
        raise OSError(
            f"{file} is no index of weights, which has `metadata` and a `weight_map` from names to files: fetch or "
            "save the model again."
        )


def refuse_pickles(files: Iterable[str] | None) -> None:
    """Raises `OSError` for files of weights that are not safetensors, such as an index may name."""
    others = [Path(file).name for file in files or () if not str(file).endswith(".safetensors")]
    if others:
        raise OSError(
            f"The index of the weights names {others[0]}, which is no safetensors file, and a pickle can run code when "
            "it is read: if you trust it, give `use_safetensors=False`, and save the model again."
        )


def refuse_other_sizes(source: Any, mismatched: Iterable[tuple[str, Any, Any]]) -> None:
    """Raises `ValueError` if weights of a checkpoint have other sizes than the model's.

    `mismatched` are names, with the size in the checkpoint and that of the model.
    """
    wrong = sorted(f"{name} is {list(held)}, not {list(wanted)}" for name, held, wanted in mismatched)
    if wrong:
        raise ValueError(
            f"The checkpoint {source} does not fit the model: {_names(wrong)}. Load it with the configuration it was "
            "saved with; or give `ignore_mismatched_sizes=True` to start these anew."
        )


def refuse_partial(source: Any, info: Mapping[str, Any], ignores_others: bool) -> None:
    """Raises `ValueError` unless the weights of a checkpoint are exactly the model's.

    Args:
        source: their origin, for the message.
        info: as returned by `output_loading_info=True`.
        ignores_others: accept weights that the model does not have, as for a part of a larger model.
    """
    if wrong := misfit(info["missing_keys"], [] if ignores_others else info["unexpected_keys"]):
        raise ValueError(
            f"The checkpoint {source} does not fit the model: it {wrong}. Load it with the class and the "
            "configuration it was saved with; or give `output_loading_info=True` to start from what there is, the rest "
            "initialised anew."
        )


def misfit(missing: Iterable[str], others: Iterable[str]) -> str:
    """Describes missing and unexpected weights, as a predicate; empty if there are none."""
    missing, others = sorted(missing), sorted(others)
    wrong = [f"lacks {_names(missing)}"] if missing else []
    wrong += [f"has {_names(others)} besides"] if others else []
    return " and ".join(wrong)


def refuse_other_adapter(source: Any, info: Any, weights: set[str]) -> None:
    """Raises `ValueError` unless the weights in a file are exactly those of an adapter in the model.

    Args:
        source: their origin, for the message.
        info: the result of loading them.
        weights: names of the adapter's weights in the model.
    """
    missing, others = sorted(set(info.missing_keys) & weights), sorted(info.unexpected_keys)
    mismatched = sorted(key for key, *_ in info.mismatched_keys)
    wrong = [f"lacks {_names(missing)}"] if missing else []
    wrong += [f"has {_names(others)} besides"] if others else []
    wrong += [f"has {_names(mismatched)} in other sizes"] if mismatched else []
    if wrong or not weights:
        what = " and ".join(wrong) or "has no layer in common with it"
        raise ValueError(f"The adapter {source} does not fit the model: it {what}. Load it into the model it is for.")


def _names(keys: list[str]) -> str:
    shown = ", ".join(keys[:_SHOWN])
    return shown if len(keys) <= _SHOWN else f"{shown} and {len(keys) - _SHOWN} more"
