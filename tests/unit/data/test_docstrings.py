"""Docstrings come in the order of the file, and prose without the code beside it."""

from __future__ import annotations

import ast

import pytest

from ladd_hf.data import docstrings as module
from ladd_hf.data.docstrings import docstrings, without_code

SOURCE = b'''
"""Module."""
x = """no docstring"""
class A:
    """Class.

    Indented.
    """
    async def f(self):
        "Coroutine."
        def inner(): "Inner."
    if x:
        def g(self): """In a branch."""
    else:
        def h(self): """In the other."""
try:
    def tried(): "Tried."
except ValueError:
    def handler(): "Handler."
finally:
    def last(): "Last."
match x:
    case 1:
        def matched(): "Matched."
with x:
    for y in x:
        while y:
            def deep(): "Deep."
def none(): pass
'''


def test_docstrings_are_those_of_the_tree_in_the_order_of_the_file():
    found = docstrings(SOURCE)
    kinds = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    nodes = [node for node in ast.walk(ast.parse(SOURCE)) if isinstance(node, kinds) and ast.get_docstring(node)]
    nodes.sort(key=lambda node: node.body[0].lineno)
    assert found == [ast.get_docstring(node) for node in nodes] and len(found) == 11
    assert found[1] == "Class.\n\nIndented."


def test_every_docstring_of_a_large_package_is_found():
    source = (ast.__file__, module.__file__)
    for path in source:
        with open(path, "rb") as file:
            text = file.read()
        kinds = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
        expected = [ast.get_docstring(n) for n in ast.walk(ast.parse(text)) if isinstance(n, kinds)]
        assert sorted(docstrings(text)) == sorted(filter(None, expected))


@pytest.mark.parametrize("source", [b"def f(:", b"x = '\xff'", b"x\x00"], ids=["syntax", "encoding", "null"])
def test_what_is_not_python_is_an_error(source):
    with pytest.raises((SyntaxError, ValueError)):
        docstrings(source)


def test_an_escape_that_a_later_python_refuses_warns_nobody(recwarn):
    assert docstrings(b'"""a \\d b"""') == ["a \\d b"]
    assert not recwarn


@pytest.mark.parametrize(
    ("text", "prose"),
    [
        ("Adds.\n\n>>> 1 + 1\n2\n\nAnd more.", "Adds.\n\n\nAnd more."),
        ("    >>> f(\n    ... )\n    1\n", ""),
        ("See:\n```python\nx = 1\n\ny = 2\n```\nThen.", "See:\nThen."),
        ("~~~\n>>> x\n```\n~~~\nThen.", "Then."),
        ("Such as::\n\n    x = 1\n\n    y = 2\n\nThen.", "Such as::\nThen."),
        ("Such as::\n\n    x = 1\n  not deeper than its line? It is.\nThen.", "Such as::\nThen."),
        (".. code-block:: python\n   :linenos:\n\n   x = 1\nThen.", "Then."),
        ("  .. math::\n\n     a = b\n\n  Then.", "Then."),
        (".. note::\n\n   Mind this.", ".. note::\n\n   Mind this."),
        ("Uses ``x = 1`` and `y`.", "Uses ``x = 1`` and `y`."),
        ("a::\n\nb", "a::\nb"),
        ("", ""),
    ],
)
def test_blocks_of_code_are_left_out_and_prose_stays(text, prose):
    assert without_code(text) == prose
