"""The page of `ladd demo`: models loaded and served."""

from __future__ import annotations

import os
from pathlib import Path

from ..app import Models, build_page, start
from .command_line import refusing
from .pipelines import default_device, loaded_pipeline, quiet_libraries

_INCLUDED = ("python-docs-di", "python-docs-mdlm")
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
        page = build_page(models_of(model, beside, cpu))
        addresses = start(page, port, share, browser=not no_browser)
    print(f"{' and '.join(addresses)} (until Ctrl-C)", flush=True)
    page.block_thread()


def models_of(model: str | None, beside: str | None = None, cpu: bool = False) -> Models:
    """Returns the model of a name and the one beside it, loaded.

    Without a model, the included Di-LADD; without `beside`, the MDLM that belongs to the model, if there is one. Raises
    `ValueError` for what cannot be loaded.
    """
    if model is None:
        model = _INCLUDED[0]
    if beside is None:
        beside = baseline_of(model)
    device = default_device(cpu)
    pipeline = loaded_pipeline(model, device)
    if beside is None:
        return Models(pipeline, model, cpu=cpu)
    return Models(pipeline, model, loaded_pipeline(beside, device, flag="--beside"), beside, cpu)


def baseline_of(model: str) -> str | None:
    """Returns the MDLM that was trained beside a model, if there is one: the included one, or a folder next to it."""
    if not Path(model).exists():
        return _INCLUDED[1] if model == _INCLUDED[0] else None
    folder = Path(model).resolve().parent / _BASELINE
    there = folder != Path(model).resolve() and (folder / "model_index.json").is_file()
    return os.path.relpath(folder) if there else None
