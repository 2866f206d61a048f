"""Prose in Python sources: docstrings in the order of the file, and texts without the code that illustrates them."""

from __future__ import annotations

import ast
import re
import warnings
from collections.abc import Iterator

_DOCUMENTED = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
_BLOCKS = ("body", "handlers", "orelse", "finalbody")  # of statements, in the order of the file
_DIRECTIVE = re.compile(
    r"\.\. +(code|code-block|sourcecode|doctest|testcode|testoutput|testsetup|ipython|plot|parsed-literal|math)::"
)


def parsed(source: bytes) -> ast.Module:
    """Returns the syntax tree of a module. Raises `SyntaxError` or `ValueError` for a source that is not Python of the
    running version."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of escapes that a later version refuses
        try:
            return ast.parse(source)
        except RecursionError as error:
            raise ValueError("is nested too deeply") from error


def docstrings(source: bytes) -> list[str]:
    """Returns the docstrings of a module, cleaned of indentation, in the order of the file. Raises the errors of
    [`parsed`], and `ValueError` for a module nested too deeply."""
    try:
        return list(_docstrings(parsed(source)))
    except RecursionError as error:
        raise ValueError("is nested too deeply") from error


def _docstrings(node: ast.AST) -> Iterator[str]:
    if isinstance(node, _DOCUMENTED) and (text := ast.get_docstring(node)):
        yield text
    for name in _BLOCKS:  # definitions are statements, so no expression has to be visited
        for statement in getattr(node, name, ()):
            yield from _docstrings(statement)
    for case in getattr(node, "cases", ()):
        yield from _docstrings(case)


def without_code(text: str) -> str:
    """Returns a text in reStructuredText or Markdown without its blocks of code.

    Left out are doctests up to the next blank line, fenced blocks, the blocks of directives of code and formulas, and
    indented blocks after a line that ends in `::`. Code within a line stays.
    """
    kept: list[str] = []
    fence, deeper_than, doctest = "", -1, False
    for line in text.splitlines():
        words, indent = line.strip(), len(line) - len(line.lstrip())
        if fence:
            fence = "" if words.startswith(fence) else fence
        elif (deeper_than >= 0 and (not words or indent > deeper_than)) or (doctest and words):
            continue
        else:
            deeper_than, doctest = -1, words.startswith(">>>")
            directive = bool(_DIRECTIVE.match(words))
            if words.startswith(("```", "~~~")):
                fence = words[:3]
            elif not doctest:
                if directive or (words.endswith("::") and not words.startswith("..")):
                    deeper_than = indent
                if not directive:
                    kept.append(line)
    return "\n".join(kept).strip()
