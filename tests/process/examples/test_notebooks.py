"""The notebooks run whole in a small size, and are committed with the outputs of a run from the top."""

from __future__ import annotations

import re
from pathlib import Path

import nbformat
import pytest
from helpers.examples import run_notebooks

ROOT = Path(__file__).resolve().parents[3]
NOTEBOOKS = sorted((ROOT / "examples" / "notebooks").glob("*.ipynb"))
WARNING = re.compile(r"Warning\b|WARNING|Traceback")
# Absolute paths, memory addresses, and the files of a kernel.
MACHINE = re.compile(r"(?<![\w.:/])/[\w.-]+/[\w.-]+|\b[A-Z]:\\|ipykernel|\b0x[0-9a-f]{6}")
MOST_BYTES = 500_000

each = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


def outputs(notebook):
    """Outputs of code cells, with the cells' first lines."""
    return [
        (cell.source.partition("\n")[0], output)
        for cell in notebook.cells
        if cell.cell_type == "code"
        for output in cell.outputs
    ]


def told(output):
    """All texts of an output, without pictures."""
    data = {kind: text for kind, text in output.get("data", {}).items() if not kind.startswith("image/")}
    return "\n".join([output.get("text", ""), *map(str, data.values()), *output.get("traceback", [])])


def faults(notebook):
    """What readers should not be shown: errors, anything on standard error, warnings, and traces of a machine."""
    found = []
    for cell, output in outputs(notebook):
        text = told(output)
        if output.output_type == "error" or output.get("name") == "stderr" or WARNING.search(text):
            found.append(f"{cell}: {text}")
        elif MACHINE.search(text) or str(Path.home()) in text:
            found.append(f"{cell} tells of the machine: {text}")
    return found


def test_there_are_the_notebooks_that_the_page_lists():
    page = (ROOT / "docs" / "notebooks.md").read_text("utf-8")
    assert NOTEBOOKS
    assert sorted(re.findall(r"\(\.\./examples/notebooks/(\w+)\.ipynb\)", page)) == [path.stem for path in NOTEBOOKS]


@each
def test_it_runs_in_a_small_size_without_warnings(path, tmp_path):
    done = run_notebooks.executed(path, tmp_path, quick=True, timeout=120)
    assert not faults(done)


@each
def test_it_is_committed_with_the_outputs_of_one_run_in_order(path):
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    assert not faults(notebook)
    assert any("image/png" in output.get("data", {}) for _, output in outputs(notebook)), "a reader should see pictures"
    assert path.stat().st_size < MOST_BYTES
    assert set(notebook.metadata) <= {"kernelspec", "language_info"} and notebook.metadata.kernelspec.name == "python3"


@each
def test_its_size_is_set_by_one_variable_near_the_top(path):
    code = [cell.source for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"]
    assert 'QUICK = bool(os.environ.get("LADD_NOTEBOOK_QUICK"))' in code[0]
    assert not any("LADD_NOTEBOOK_QUICK" in source for source in code[1:])


@each
def test_its_links_lead_to_files(path):
    for cell in nbformat.read(path, as_version=4).cells:
        for target in re.findall(r"\]\(([^)#\s]+)", cell.source) if cell.cell_type == "markdown" else []:
            assert target.startswith("https://") or (path.parent / target).exists(), target


@pytest.mark.parametrize(
    ("text", "is_fault"),
    [
        ("/root/.cache/x", True),
        ("Running in /tmp/abc", True),
        ("UserWarning: old", True),
        ("<object at 0x7f3a2b1c>", True),
        ("see https://arxiv.org/abs/2510.18114", False),
        ("python/operators and/or", False),
    ],
)
def test_traces_of_a_machine_are_seen(text, is_fault):
    output = nbformat.v4.new_output("stream", text=text)
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("x", outputs=[output])])
    assert bool(faults(notebook)) == is_fault
