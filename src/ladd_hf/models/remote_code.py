"""Code of models that are pushed to the Hub, so that they load without this package installed.

`AutoModelForMaskedLM.from_pretrained(repository, trust_remote_code=True)` loads the modules beside the weights, as flat
files, and finds the classes in the configuration's `auto_map`. Folders saved locally have no code.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from transformers import PreTrainedConfig, PreTrainedModel

_IMPORTED = re.compile(r"from\s+\.+[\w.]*")


@contextmanager
def code_included(model: PreTrainedModel, auto_classes: dict[str, type], main: str) -> Iterator[None]:
    """Context in which saving `model` also writes its code (`write_code`).

    `auto_classes` maps auto classes to the classes that they load, including the model's own. All are loaded from the
    module `main`, so that loading any one of them registers all, and the model can be pushed again.
    """
    config, before = model.config, getattr(model.config, "auto_map", None)
    modules = {
        auto: one.__module__ if issubclass(one, PreTrainedConfig) else main for auto, one in auto_classes.items()
    }
    config.auto_map = {auto: f"{_base_name(modules[auto])}.{one.__name__}" for auto, one in auto_classes.items()}
    vars(model)["_takes_code_along"] = True
    try:
        yield
    finally:
        del vars(model)["_takes_code_along"]
        if before is None:
            del config.auto_map
        else:
            config.auto_map = before


def write_code(model: PreTrainedModel, auto_classes: Iterable[type], folder: Path, main: str | None = None) -> None:
    """Writes the modules that define `auto_classes`, and all their imports from the package, as flat files to `folder`.

    `main` is the module that models are loaded from; by default that of the model's class.

    Only modules of the model's own layers are included, so libraries of other kinds of models are not required. Raises
    `ValueError` if two modules would have the same file name, and if a package is imported as a whole.
    """
    start = _file_of(main or type(model).__module__)
    entries = {start} | {_file_of(one.__module__) for one in auto_classes}
    package = type(model).__module__.split(".")[0]
    layers = {type(layer) for layer in model.modules() if type(layer).__module__.split(".")[0] == package}
    files: dict[str, Path] = {}
    waiting = sorted(entries | {_file_of(layer.__module__) for layer in layers})
    while waiting:
        file = waiting.pop()
        if files.setdefault(file.stem, file) != file:
            raise ValueError(f"{file} and {files[file.stem]} would be one file on the Hub: rename one of them.")
        waiting += [one for one in _imports(file).values() if files.get(one.stem) != one]
    reached = _reached(start)
    for file in files.values():
        text = _flat(file)
        # as of transformers 5.23.0 only modules imported by name are fetched, starting from this file
        if file == start:
            text += "".join(
                f"\nfrom .{_base_name(layer.__module__)} import {layer.__name__}  # noqa: E402, F401\n"
                for layer in sorted(layers, key=lambda one: one.__name__)
                if _file_of(layer.__module__) not in reached
            )
        (folder / file.name).write_text(text, encoding="utf-8")


def _base_name(module: str) -> str:
    return module.rsplit(".", 1)[-1]


def _file_of(module: str) -> Path:
    return Path(str(sys.modules[module].__file__)).resolve()


def _reached(file: Path) -> set[Path]:
    """Returns the file, and all that it imports from its package."""
    reached, waiting = {file}, [file]
    while waiting:
        new = set(_imports(waiting.pop()).values()) - reached
        reached |= new
        waiting += sorted(new)
    return reached


def _imports(file: Path) -> dict[int, Path]:
    """Returns the modules that a file imports relatively, by the line of the import."""
    found = {}
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if not isinstance(node, ast.ImportFrom) or not node.level:
            continue
        module = file.parents[node.level - 1].joinpath(*(node.module or "").split(".")).with_suffix(".py")
        if node.module is None or not module.is_file():
            raise ValueError(
                f"Line {node.lineno} of {file} imports a package as a whole: import from the module that defines it."
            )
        found[node.lineno] = module
    return found


def _flat(file: Path) -> str:
    """Returns the text of a file with each relative import rewritten to a module beside it."""
    lines = file.read_text(encoding="utf-8").splitlines(keepends=True)
    for number, module in _imports(file).items():
        lines[number - 1] = _IMPORTED.sub(f"from .{module.stem}", lines[number - 1], count=1)
    return "".join(lines)
