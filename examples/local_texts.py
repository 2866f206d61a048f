"""Local text files as the scripts read them: UTF-8, whatever the machine's own encoding."""

from __future__ import annotations

import io
from pathlib import Path


def text_of(path: str | Path) -> str:
    """All of a file, without a byte order mark. Raises `ValueError`, which names the file, for one that is not
    UTF-8."""
    try:
        return Path(path).read_bytes().decode("utf-8").removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        raise ValueError(
            f"{path} is not UTF-8: the byte {error.object[error.start]:#04x} at offset {error.start} does not fit; "
            "convert it, for instance by `iconv -f latin1 -t utf8`."
        ) from error


def lines_of(path: str | Path) -> list[str]:
    """The lines of a file that are not empty, cut as `load_corpus(sample_by="line")` cuts them: at line ends alone,
    while `str.splitlines` cuts at form feeds and other marks that stand within a text."""
    lines = (line.removesuffix("\n") for line in io.StringIO(text_of(path), newline=None))
    return [line for line in lines if line]
