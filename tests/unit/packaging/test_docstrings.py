"""Docstrings begin with a verb or a noun, and the words of source and docs are plain English."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
SOURCES = [path for folder in ("src", "examples", "benchmarks") for path in sorted((ROOT / folder).rglob("*.py"))]
TEXTS = [*SOURCES, *sorted((ROOT / "docs").glob("*.md")), *sorted(ROOT.glob("*.md"))]
QUESTION = re.compile(r"(What|Which|Where|How|Whether)\b")


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


def docstrings(path: Path) -> list[tuple[int, str]]:
    """Returns the line and the text of every docstring in a file."""
    kinds = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    nodes = [node for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if isinstance(node, kinds)]
    return [(node.body[0].lineno, text) for node in nodes if (text := ast.get_docstring(node))]


@pytest.mark.parametrize("path", SOURCES, ids=name_of)
def test_no_docstring_begins_with_a_question_word(path):
    found = [f"{path}:{line}: {text.splitlines()[0]}" for line, text in docstrings(path) if QUESTION.match(text)]
    assert not found, "begin with a verb or a noun:\n" + "\n".join(found)


@pytest.mark.parametrize("path", TEXTS, ids=name_of)
def test_cannot_is_one_word(path):
    lines = enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
    found = [f"{path}:{number}" for number, line in lines if re.search(r"\bcan not\b", line, re.IGNORECASE)]
    assert not found, "write 'cannot':\n" + "\n".join(found)
