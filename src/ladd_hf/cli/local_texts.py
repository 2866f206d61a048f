"""Reading of local text files as UTF-8, independent of the machine's own encoding."""

from __future__ import annotations

import io
from pathlib import Path


def text_of(path: str | Path) -> str:
    """Returns the contents of a file, without a byte order mark. Raises `ValueError`, which names the file, unless it
    is UTF-8."""
    try:
        return Path(path).read_bytes().decode("utf-8").removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        raise ValueError(
            f"{path} is not UTF-8: the byte {error.object[error.start]:#04x} at offset {error.start} does not fit; "
            "convert it, for instance by `iconv -f latin1 -t utf8`."
        ) from error


def lines_of(path: str | Path) -> list[str]:
    """Returns the non-empty lines of a file, split as by `load_corpus(sample_by="line")`: only at line ends, whereas
    `str.splitlines` also splits at form feeds and other marks within a text."""
    lines = (line.removesuffix("\n") for line in io.StringIO(text_of(path), newline=None))
    return [line for line in lines if line]
