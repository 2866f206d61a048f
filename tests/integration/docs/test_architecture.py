"""docs/architecture.md names files that there are, and every folder of the package."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
PACKAGE = ROOT / "src" / "ladd_hf"
PAGE = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
ROWS = {found[1]: found[0] for found in re.finditer(r"^\| `(\w+)/` \|.*$", PAGE, re.MULTILINE)}


def test_each_folder_has_a_row():
    folders = {path.name for path in PACKAGE.iterdir() if path.is_dir() and path.name != "__pycache__"}
    assert folders == ROWS.keys()


@pytest.mark.parametrize("folder", ROWS)
def test_a_row_names_files_of_its_folder(folder):
    files = {path.name for path in (PACKAGE / folder).rglob("*.py")}
    named = {name for name in re.findall(r"`([\w/]+\.py)`", ROWS[folder]) if "/" not in name}
    assert named <= files, f"no files of {folder}/: {sorted(named - files)}"
