"""Imports load only what they need: the configuration alone loads no training, pipeline or data."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest
from helpers.quickly import START

import ladd_hf

STUB = Path(ladd_hf.__file__).with_suffix(".pyi")
NAMES = [
    alias.asname
    for node in ast.parse(STUB.read_text(encoding="utf-8")).body
    if isinstance(node, ast.ImportFrom)
    for alias in node.names
]
FOLDERS = ("convert", "data", "metrics", "pipelines", "schedulers", "tasks", "training")
LIBRARIES = (
    "datasets",
    "diffusers",
    "evaluate",
    "peft",
    "transformers.trainer",
    "vector_quantize_pytorch",
)
LOADED = """
import sys
from {module} import {names}
print("\\n".join(sys.modules))
"""


def loaded_by(names, module="ladd_hf"):
    """The modules that a fresh process has loaded when it has imported `names`."""
    command = [sys.executable, "-c", START + LOADED.format(names=names, module=module)]
    process = subprocess.run(command, capture_output=True, text=True)
    assert process.returncode == 0, process.stderr[-3000:]
    return set(process.stdout.split())


@pytest.fixture(scope="module")
def modules():
    return loaded_by("LaddConfig")


@pytest.mark.parametrize("name", [*(f"ladd_hf.{folder}" for folder in FOLDERS), *LIBRARIES])
def test_the_configuration_alone_does_not_load(name, modules):
    assert "ladd_hf.models.configuration_ladd" in modules
    assert not [one for one in modules if one == name or one.startswith(f"{name}.")]


def test_what_is_asked_for_is_loaded_then(modules):
    later = loaded_by("LaddConfig, LaddJointScheduler")
    assert "ladd_hf.schedulers.scheduling_joint" in later - modules and "diffusers" in later - modules


def test_writing_loads_neither_data_nor_measurements_nor_figures():
    modules = loaded_by("generate", "ladd_hf.cli.texts")
    assert "ladd_hf.pipelines.pipeline_ladd" in modules
    heavy = {"datasets", "evaluate", "pandas", "matplotlib", "ladd_hf.metrics", "ladd_hf.data", "ladd_hf.training"}
    assert not modules & heavy


@pytest.mark.parametrize("name", NAMES)
def test_a_name_of_the_stub_can_be_imported_and_is_listed(name):
    assert hasattr(ladd_hf, name)
    assert name in dir(ladd_hf) and name in ladd_hf.__all__


def test_a_name_that_is_not_there_is_named():
    with pytest.raises(AttributeError, match="LaddTransformer"):
        ladd_hf.LaddTransformer  # noqa: B018
