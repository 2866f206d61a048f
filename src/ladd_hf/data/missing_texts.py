"""Missing texts (null): one error message for all that read texts."""

from __future__ import annotations


def present(text: str | None) -> str:
    """Returns the text. Raises `ValueError` if it is missing."""
    if text is None:
        raise missing("A text")
    return text


def missing(which: str) -> ValueError:
    """Returns the error for a text that is `None`, with a remedy."""
    return ValueError(
        f"{which} is missing (null), but a string is accepted: filter such rows out, for instance by "
        "`dataset.filter(lambda row: row['text'] is not None)`."
    )
