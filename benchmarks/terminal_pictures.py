"""Draws what commands of `ladd` print in a terminal, coloured as they print it: `docs/pictures/terminal-*.svg`.

    python benchmarks/terminal_pictures.py
    python benchmarks/terminal_pictures.py --python ~/empty/bin/python    # of an environment with the package alone

Whatever is installed beside the package may have lines of its own to print.
"""

from __future__ import annotations

import argparse
import fcntl
import io
import os
import pty
import re
import struct
import subprocess
import sys
import termios

from rich.console import Console
from rich.text import Text
from text_table import ROOT

PICTURES = ROOT / "docs" / "pictures"
COLUMNS, ROWS = 100, 60
# What is drawn, by the name of its picture.
COMMANDS = {
    "generate": ["generate", "python-docs-di", "--steps", "4", "--watch", "--seed", "1"],
}
_FONT = re.compile(r"\s*@font-face \{.*?\}", re.DOTALL)  # fetched from elsewhere


def printed(words: list[str], python: str = sys.executable) -> str:
    """Returns what `ladd` with these words prints in a terminal, with the codes of its colours.

    `python` is the interpreter of an environment with the package. Raises `CalledProcessError` if the command fails.
    """
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, COLUMNS, 0, 0))
    environment = {**os.environ, "TERM": "xterm-256color", "COLORTERM": "truecolor", "PYTHONWARNINGS": "ignore"}
    command = [python, "-m", "ladd_command", *words]
    job = subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, env=environment, cwd=ROOT)
    os.close(theirs)
    parts = []
    while True:
        try:
            part = os.read(ours, 65536)
        except OSError:  # the terminal is closed on their side
            break
        if not part:
            break
        parts.append(part)
    os.close(ours)
    if job.wait():
        raise subprocess.CalledProcessError(job.returncode, command, b"".join(parts))
    return b"".join(parts).decode().replace("\r\n", "\n")


def picture(command: str, output: str) -> str:
    """Returns an SVG of a terminal with a command and its output."""
    console = Console(record=True, width=COLUMNS, file=io.StringIO(), force_terminal=True, color_system="truecolor")
    console.print(Text(f"$ {command}"), soft_wrap=True)
    console.print(Text.from_ansi(output.rstrip()))
    return _FONT.sub("", console.export_svg(title=command, unique_id="terminal"))


def main() -> None:
    """Writes the pictures."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0], allow_abbrev=False)
    parser.add_argument("--python", default=sys.executable, help="of the environment whose `ladd` is drawn")
    options = parser.parse_args()
    for name, words in COMMANDS.items():
        drawn = picture(f"ladd {' '.join(words)}", printed(words, options.python))
        (PICTURES / f"terminal-{name}.svg").write_text(drawn, encoding="utf-8")


if __name__ == "__main__":
    main()
