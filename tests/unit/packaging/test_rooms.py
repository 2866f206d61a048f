"""Folders of the package import one another in one direction, and no two modules in a circle."""

from __future__ import annotations

import ast
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[3] / "src" / "ladd_hf"
# From the ground up: each imports only from those before it.
ROOMS = (
    *("utils", "diffusion", "models", "schedulers", "pipelines", "data", "convert", "metrics", "tasks"),
    *("training", "pictures", "evaluation", "app", "cli"),
)
FILES = {
    ".".join(path.relative_to(PACKAGE).with_suffix("").parts).removesuffix(".__init__"): path
    for path in sorted(PACKAGE.rglob("*.py"))
    if path.parent != PACKAGE and "included" not in path.parts  # saved pipelines, with stubs for diffusers
}


def imported(name: str) -> list[str]:
    """The modules of the package that a module imports."""
    path, found = FILES[name], []
    own = (name if path.name == "__init__.py" else name.rpartition(".")[0]).split(".")
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and (node.level or (node.module or "").startswith("ladd_hf")):
            if not node.level:  # `evaluate.load` takes a metric's file out of its folder
                assert name.startswith("metrics."), f"{name} imports {node.module} by its absolute name."
                found.append(node.module.removeprefix("ladd_hf."))
                continue
            parts = own[: len(own) - node.level + 1] + [part for part in [node.module] if part]
            found += [".".join(parts)] if node.module else [".".join([*parts, alias.name]) for alias in node.names]
    return found


def test_every_folder_has_its_place():
    assert {name.split(".")[0] for name in FILES} == set(ROOMS)
    assert [path.name for path in PACKAGE.glob("*.py")] == ["__init__.py"]


@pytest.mark.parametrize("name", FILES)
def test_imports_point_down(name):
    room = ROOMS.index(name.split(".")[0])
    for target in imported(name):
        assert target in FILES, f"{name} imports {target}, which is no module."
        assert ROOMS.index(target.split(".")[0]) <= room, f"{name} imports {target}, which stands above it."


@pytest.mark.parametrize("name", FILES)
def test_nothing_is_imported_inside_of_a_function(name):
    tree = ast.parse(FILES[name].read_text(encoding="utf-8"))
    functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    inner = [node for one in functions for node in ast.walk(one) if isinstance(node, ast.ImportFrom) and node.level]
    assert not inner, f"{name} imports in line {inner[0].lineno}: import at the top, or move what is shared down."


def test_there_is_no_circle():
    # a package's `__init__` collects what its modules define, so that it stands above them
    inside = {name: {one for one in imported(name) if one != name} for name in FILES}
    order = list(TopologicalSorter(inside).static_order())  # raises CycleError, which names the circle
    assert set(order) == set(FILES)
