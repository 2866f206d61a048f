"""Runs the notebooks of examples/notebooks/ whole, and writes their outputs into them.

    python examples/run_notebooks.py                        # all of them
    python examples/run_notebooks.py time_square --quick    # one, in a small size

Needs the extra `notebooks`. Each runs in an empty folder, so that nothing is left beside it.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from pathlib import Path
from unittest import mock

import nbformat
from nbclient import NotebookClient

FOLDER = Path(__file__).parent / "notebooks"
QUICK = "LADD_NOTEBOOK_QUICK"  # the variable that the notebooks read
# torchao, which no notebook needs, writes warnings of its own build when it is imported, as of torchao 0.18.0
_WITHOUT_TORCHAO = """--IPKernelApp.exec_lines=["import sys; sys.modules['torchao'] = None"]"""


def executed(path: Path, folder: Path, quick: bool = False, timeout: int = 3600) -> nbformat.NotebookNode:
    """Returns a notebook with the outputs of a run in `folder`, by a kernel of this Python.

    Raises nbclient's `CellExecutionError` if a cell fails.
    """
    notebook = nbformat.read(path, as_version=4)
    metadata = notebook.metadata.copy()
    client = NotebookClient(
        notebook,
        timeout=timeout,
        kernel_name="python3",
        resources={"metadata": {"path": str(folder)}},
        record_timing=False,
        extra_arguments=[_WITHOUT_TORCHAO],
    )
    with mock.patch.dict(os.environ, {QUICK: "1" if quick else ""}):
        client.execute()
    notebook.metadata = metadata  # without the version of this Python
    return notebook


def main() -> None:
    """Runs the notebooks that the command line names, or all."""
    parser = argparse.ArgumentParser(description="Runs notebooks whole, and writes their outputs into them.")
    parser.add_argument("names", nargs="*", help="of the notebooks, without .ipynb; all by default")
    parser.add_argument("--quick", action="store_true", help="in a small size, as in the tests")
    arguments = parser.parse_args()
    for name in arguments.names or sorted(path.stem for path in FOLDER.glob("*.ipynb")):
        path = FOLDER / f"{name}.ipynb"
        with tempfile.TemporaryDirectory() as folder:
            nbformat.write(executed(path, Path(folder), arguments.quick), path)
        print(f"{path.name}: {path.stat().st_size / 1024:,.0f} KiB")


if __name__ == "__main__":
    main()
