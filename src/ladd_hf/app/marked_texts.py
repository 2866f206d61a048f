"""Codes and texts of the panel of latents as HTML."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from .coloured import colour_of
from .exchange import Exchange, TextCode
from .mixing import Mixture


def code_chips(codes: Sequence[TextCode], marked: int | None = None) -> str:
    """Returns a text's codes, each with its number from 1 and the tokens it stands for; one may be marked."""
    chips = [
        f'<span class="ladd-chip{" ladd-changed" if number - 1 == marked else ""}">{escape(_seen(one.text))}'
        f"<small>{number}: {one.code}</small></span>"
        for number, one in enumerate(codes, 1)
    ]
    return f"<div>{''.join(chips)}</div>"


def exchanged_texts(found: Exchange) -> str:
    """Returns the texts before and after an exchange; what has changed is marked, and the code's place underlined."""
    before = _line("from its own codes", found.before, [False] * len(found.before), found.here)
    return before + _line("with the other code", found.after, found.changed, found.here)


def mixture(found: Mixture) -> str:
    """Returns a text between two, and, of codes, those of the first text in yellow and of the second in blue."""
    chips = ""
    if found.of_second is not None:
        codes = zip(found.latents.tolist(), found.of_second, strict=True)
        chips = "".join(
            f'<span class="ladd-chip" style="background:{colour_of(2 if second else 1, 2)}">{code}</span>'
            for code, second in codes
        )
        chips = f'<div title="yellow: of the first text, blue: of the second">{chips}</div>'
    return f'{chips}<div class="ladd-text">{escape(found.text)}</div>'


def texts(lines: Sequence[str]) -> str:
    """Returns texts below each other."""
    return "".join(f'<div class="ladd-text">{escape(line)}</div>' for line in lines)


def _line(name: str, tokens: Sequence[str], changed: Sequence[bool], here: Sequence[bool]) -> str:
    spans = []
    for token, differs, inside in zip(tokens, changed, here, strict=True):
        classes = " ".join(name for name, holds in (("ladd-changed", differs), ("ladd-here", inside)) if holds)
        spans.append(f'<span class="{classes}">{escape(token)}</span>' if classes else escape(token))
    return f'<div><small>{name}</small></div><div class="ladd-text">{"".join(spans)}</div>'


def _seen(text: str) -> str:
    return text.replace("\n", "↵") or "whole text"
