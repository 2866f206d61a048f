"""Every command of the pages is understood by what it starts: its script or subcommand, and all of its flags."""

from __future__ import annotations

import re

import pytest
from helpers.printed_blocks import ROOT, blocks
from helpers.printed_commands import commands, read, read_only

PAGES = ["README.md", "CONTRIBUTING.md", *(page.relative_to(ROOT).as_posix() for page in (ROOT / "docs").rglob("*.md"))]
BLOCKS = {
    f"{page}:{line}": text for page in sorted(PAGES) for line, language, text in blocks(page) if language == "bash"
}
# A program and what it is given, at the beginning of a line.
COMMAND = re.compile(
    r"(?:\$ )?(?:\w+=\S+ )*(?:\.venv/bin/)?(?:ladd|accelerate|python3?|pip|pytest|git|mkdocs|jupyter) +[\w./~\"'-]"
)


@pytest.fixture
def reading(tmp_path, monkeypatch):
    """`reading(words)` reads a command in an empty folder, and runs nothing."""
    read_only(monkeypatch, tmp_path)
    return lambda words: read(words, monkeypatch)


@pytest.mark.parametrize("place", BLOCKS)
def test_the_commands_of_a_block_are_understood(place, reading):
    found = commands(BLOCKS[place])
    assert found
    for words in found:
        reading(words)


def test_there_is_no_command_in_a_fence_of_another_kind():
    found = [
        f"{page}:{line}: {row}"
        for page in PAGES
        for line, language, text in blocks(page)
        if language != "bash"
        for row in text.splitlines()
        if COMMAND.match(row)
    ]
    assert not found
    fences = sum(len(re.findall(r"^ *```bash$", (ROOT / page).read_text(), re.MULTILINE)) for page in PAGES)
    assert fences == len(BLOCKS) > 30


@pytest.mark.parametrize(
    ("command", "said"),
    [
        ("ladd generate python-docs-di --step 8", "--step"),
        ("ladd generate python-docs-di --schedule straight", "straight"),
        ("ladd writes python-docs-di", "writes"),
        ("ladd train python-docs-d", "python-docs-d"),
        ("ladd train --data my.txt --max_step 5", "--max_step"),
        ("ladd evaluate python-docs-di --data python-docs --judges ngrams", "ngrams"),
        ("ladd convert last.ckpt", "output"),
        ("OMP_NUM_THREADS=1 .venv/bin/python examples/evaluate_ladd.py out/model", "--data"),
        ("python examples/evaluate.py out/model", "is not there"),
        ("accelerate launch --processes 2 examples/train_ladd.py", "examples/train_ladd.py|--processes"),
        ("accelerate launch examples/train_ladd.py --stage []", "--stage "),
        ("python benchmarks/text_sampling.py out/model --budget_s 2", "--budget_s"),
        ("python benchmarks/text_ablations.py samples --num_sample 5", "--num_sample"),
        ("python examples/make_gallery.py out/a out/b --data x y z", "3 corpora"),
        ("git status && cowsay hello", "cowsay"),
    ],
)
def test_a_command_that_is_wrong_is_named(command, said, reading):
    with pytest.raises((AssertionError, FileNotFoundError), match=said):
        for words in commands(command):
            reading(words)


def test_commands_are_read_as_a_shell_reads_them():
    lines = [
        "A=1 B=2 .venv/bin/python x.py 'a b' \\",
        "    --c  # told",
        "pip install -q . && ladd train; ladd env",
        "# no",
    ]
    assert commands("\n".join(lines)) == [
        ["python", "x.py", "a b", "--c"],
        ["pip", "install", "-q", "."],
        ["ladd", "train"],
        ["ladd", "env"],
    ]
