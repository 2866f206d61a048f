"""Stub files in a saved pipeline that import its classes, so that diffusers alone can load it.

`DiffusionPipeline.from_pretrained(repository, trust_remote_code=True)` looks for a pipeline's classes in files beside
its parts. The stubs written here import them from `ladd_hf`, so the user need not import it first.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

# Name of the stub file of each part.
FILES = {"model": "modeling", "scheduler": "scheduling"}
PIPELINE_FILE = "pipeline"
PACKAGE = __name__.split(".")[0]


def _write_import(folder: Path, stem: str, name: str) -> list[str]:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{stem}.py").write_text(f"from {PACKAGE} import {name}\n\n__all__ = [{name!r}]\n", encoding="utf-8")
    return [stem, name]


def write_imports(index_path: Path, pipeline_class: type) -> None:
    """Writes stub files beside a saved `model_index.json` and refers to them in it.

    Entries of other classes, such as a tokenizer or a user's own scheduler, do not change.
    """
    index = json.loads(index_path.read_text(encoding="utf-8"))
    if pipeline_class.__module__.split(".")[0] == PACKAGE:
        index["_class_name"] = _write_import(index_path.parent, PIPELINE_FILE, pipeline_class.__name__)
    for part, stem in FILES.items():
        module, name = index.get(part) or ("", "")
        if module is not None and module.split(".")[0] == PACKAGE:
            index[part] = _write_import(index_path.parent / part, stem, name)
    index_path.write_text(json.dumps(index, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def index_of_a_model(folder: Path) -> dict[str, Any] | None:
    """Returns a `model_index.json` for a folder that holds only a model, with or without its tokenizer, or `None` if it
    holds no model of this package. The pipeline then uses the default scheduler."""
    config = folder / "config.json"
    if not config.is_file() or json.loads(config.read_text(encoding="utf-8")).get("model_type") != "ladd":
        return None
    index: dict[str, Any] = {"_class_name": "LaddPipeline", "model": [FILES["model"], "LaddForDiffusionLM"]}
    tokenizer = folder / "tokenizer_config.json"
    if tokenizer.is_file():
        name = json.loads(tokenizer.read_text(encoding="utf-8")).get("tokenizer_class") or "PreTrainedTokenizerFast"
        index["tokenizer"] = ["transformers", name]
    return index


def without_files(index: dict[str, Any], modules: dict[str, str]) -> dict[str, Any]:
    """Returns a `model_index.json` in which `modules`, by class name, replace the stub files."""
    resolved = dict(index)
    if isinstance(index.get("_class_name"), list | tuple):
        resolved["_class_name"] = index["_class_name"][1]
    for part, stem in FILES.items():
        file, name = index.get(part) or (None, None)
        if file == stem and name in modules:
            resolved[part] = [modules[name], name]
    return resolved
