"""Texts that are missing (null): refused by whatever reads them first, in the same words."""

from __future__ import annotations


def present(text: str | None) -> str:
    """The text. Raises `ValueError` where it is missing."""
    if text is None:
        raise missing("A text")
    return text


def missing(which: str) -> ValueError:
    """What is wrong with a text that is `None`, and what to do."""
    return ValueError(
        f"{which} is missing (null), but a string is accepted: filter such rows out, for instance by "
        "`dataset.filter(lambda row: row['text'] is not None)`."
    )
