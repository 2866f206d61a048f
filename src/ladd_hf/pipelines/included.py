"""Small trained pipelines that travel with the package, so that it can be tried without training or network."""

from __future__ import annotations

from pathlib import Path

# A folder for each, saved by `save_pretrained`; `benchmarks/make_included_pipelines.py` makes them anew.
FOLDER = Path(__file__).resolve().parents[1] / "included"


def included_pipelines() -> list[str]:
    """Returns the names of the included pipelines."""
    return sorted(index.parent.name for index in FOLDER.glob("*/model_index.json"))


def included_pipeline(name: str) -> str:
    """Returns the folder of an included pipeline, as `LaddPipeline.from_pretrained` takes it.

    `"python-docs-di"` is Di-LADD on the documentation of Python's standard library in 27 symbols, of length 64, and
    `"python-docs-mdlm"` the MDLM that took as many operations to train. Each folder has a card, `README.md`.

    Raises `ValueError` for another name.
    """
    if name not in included_pipelines():
        raise ValueError(f"no pipeline {name!r} is included; included are {', '.join(included_pipelines())}.")
    return str(FOLDER / name)
