"""Every imported package is declared, and every declared one is pinned to a tested version in `constraints.txt`."""

import ast
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[3]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def third_party_imports(path: Path, in_functions: bool = False) -> set[str]:
    """Top-level names of the modules from elsewhere that a source file imports, when it is loaded or in functions."""
    tree = ast.parse(path.read_text())
    functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]
    inside = {id(node) for function in functions for node in ast.walk(function)}
    names = set()
    for node in (node for node in ast.walk(tree) if (id(node) in inside) == in_functions):
        if isinstance(node, ast.Import):
            names.update(alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            names.add(node.module.split(".")[0])
    return names - set(sys.stdlib_module_names) - {"ladd_hf"}


@pytest.mark.parametrize("in_functions", [False, True])
def test_every_module_the_package_imports_is_declared(in_functions: bool) -> None:
    """Packages of an extra are imported in the functions that need them."""
    extras = [line for name, lines in PROJECT["optional-dependencies"].items() if name != "test" for line in lines]
    requirements = PROJECT["dependencies"] + (extras if in_functions else [])
    declared = {canonicalize_name(Requirement(line).name) for line in requirements}
    distributions = packages_distributions()
    imported = set().union(*(third_party_imports(path, in_functions) for path in (ROOT / "src").rglob("*.py")))

    undeclared = {name for name in imported if declared.isdisjoint(map(canonicalize_name, distributions[name]))}
    assert not undeclared


def test_constraints_pin_every_requirement_within_its_range() -> None:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pins = [Requirement(line) for line in lines if line and not line.startswith("#")]
    versions = {canonicalize_name(pin.name): str(pin.specifier).removeprefix("==") for pin in pins}
    extras = PROJECT["optional-dependencies"].values()
    requirements = map(Requirement, sum(extras, PROJECT["dependencies"]))

    for requirement in requirements:
        if requirement.name != PROJECT["name"]:  # an extra that includes another
            version = versions[canonicalize_name(requirement.name)]
            assert requirement.specifier.contains(version), f"{requirement} does not allow {version}"
