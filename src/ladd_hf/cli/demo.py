"""The page of `ladd demo`: models loaded and served."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

from ..app import Models, build_page, start
from .command_line import refusing
from .pipelines import default_device, loaded_pipeline, quiet_libraries

_INCLUDED = ("python-docs-di", "python-docs-mdlm")
_TRAININGS = "out"  # where trainings leave their folders
_BASELINE = "mdlm"  # a training leaves this folder beside that of the model


def demo(
    model: str | None = None,
    beside: str | None = None,
    port: int | None = None,
    share: bool = False,
    no_browser: bool = False,
    cpu: bool = False,
) -> None:
    """Serves the page until it is interrupted.

    The pipelines that travel with the package are there without training or network, so nothing is trained at the
    start.
    """
    quiet_libraries()
    with refusing(ImportError):
        models = models_of(model, beside, cpu)
        page = build_page(models)
        addresses = start(page, port, share, browser=not no_browser)
    if model is None and models.name != _INCLUDED[0]:
        found = f"{models.name} is the newest model of texts in {_TRAININGS}"
        print(f"{found}; ladd demo {_INCLUDED[0]} shows the included one.")
    print(f"{' and '.join(addresses)} (until Ctrl-C)", flush=True)
    _wait(page)


def _wait(page: Any) -> None:
    """Waits until the page is closed. An interrupt closes it and goes on, so that the command ends as any other that is
    interrupted; gradio's `block_thread` would keep it for itself."""
    try:
        while page.is_running:
            time.sleep(0.1)
    finally:
        page.close(verbose=False)


def models_of(model: str | None, beside: str | None = None, cpu: bool = False) -> Models:
    """Returns the model of a name and the one beside it, loaded.

    Without a model, the newest one of texts that was trained here, else the included Di-LADD; without `beside`, the
    MDLM that belongs to the model, if there is one. Raises `ValueError` for what cannot be loaded.
    """
    if model is None:
        model = newest_of_texts(Path(_TRAININGS)) or _INCLUDED[0]
    if beside is None:
        beside = baseline_of(model)
    device = default_device(cpu)
    pipeline = loaded_pipeline(model, device)
    if beside is None:
        return Models(pipeline, model, cpu=cpu)
    return Models(pipeline, model, loaded_pipeline(beside, device, flag="--beside"), beside, cpu)


def newest_of_texts(trainings: Path) -> str | None:
    """Returns the pipeline with a tokenizer that was saved last in the folder of trainings, or in one of theirs; not an
    MDLM that a training left beside its model."""
    indices = [index for pattern in ("*", "*/*") for index in trainings.glob(f"{pattern}/model_index.json")]
    found = [one for one in indices if one.parent.name != _BASELINE and _has_tokenizer(one)]
    return str(max(found, key=lambda index: index.stat().st_mtime).parent) if found else None


def _has_tokenizer(index: Path) -> bool:
    """True if a pipeline has a tokenizer; what is not read as a pipeline has none."""
    try:
        tokenizer = json.loads(index.read_text(encoding="utf-8"))["tokenizer"]
    except (OSError, ValueError, KeyError, TypeError):
        return False
    return isinstance(tokenizer, list) and tokenizer[:1] != [None] and tokenizer != []


def baseline_of(model: str) -> str | None:
    """Returns the MDLM that was trained beside a model, if there is one: the included one, or a folder next to it."""
    if not Path(model).exists():
        return _INCLUDED[1] if model == _INCLUDED[0] else None
    folder = Path(model).resolve().parent / _BASELINE
    there = folder != Path(model).resolve() and (folder / "model_index.json").is_file()
    return os.path.relpath(folder) if there else None
