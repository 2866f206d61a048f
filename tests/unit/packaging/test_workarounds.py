"""Workarounds for other libraries say up to when they are needed.

`as of LIBRARY VERSION` names the version that was looked at, which is the one of `constraints.txt`; `before LIBRARY
VERSION` the one that needs it no more, which `pyproject.toml` does not ask for yet. A thread,
`owner/repository#number`, may tell more.
"""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).resolve().parents[3]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
SOURCES = [
    ROOT / "pyproject.toml",
    *(path for folder in ("src", "tests", "examples", "benchmarks") for path in sorted((ROOT / folder).rglob("*.py"))),
]


def named(word: str) -> list[tuple[str, str, str]]:
    """Returns file, library and version of every `word LIBRARY VERSION`, which may go on in the next line."""
    pattern = re.compile(rf"\b{word} ([a-z][\w-]+) (\d+(?:\.\d+)+)", re.IGNORECASE)
    texts = {path: re.sub(r"\s*\n\s*(#\s*)?", " ", path.read_text("utf-8")) for path in SOURCES}
    return [
        (str(path.relative_to(ROOT)), canonicalize_name(library), version)
        for path, text in texts.items()
        for library, version in pattern.findall(text)
    ]


def lowest(requirement: Requirement) -> Version:
    return min(Version(part.version) for part in requirement.specifier if part.operator in (">=", "=="))


@pytest.fixture(scope="module")
def tested() -> dict[str, str]:
    lines = (ROOT / "constraints.txt").read_text("utf-8").splitlines()
    pins = [line.split("==") for line in lines if "==" in line and not line.startswith("#")]
    return {canonicalize_name(name): version for name, version in pins}


@pytest.fixture(scope="module")
def accepted() -> dict[str, Version]:
    lines = sum(PROJECT["optional-dependencies"].values(), PROJECT["dependencies"])
    requirements = [one for one in map(Requirement, lines) if one.name != PROJECT["name"]]
    return {canonicalize_name(one.name): lowest(one) for one in requirements}


def test_what_is_needed_as_of_a_version_was_looked_at_with_the_tested_one(tested):
    found = named("as of")
    assert found
    old = [f"{file}: {library} {version}" for file, library, version in found if tested.get(library) != version]
    assert not old, "see whether these are needed with the versions of constraints.txt:\n" + "\n".join(old)


def test_what_is_needed_before_a_version_is_needed_by_one_that_is_accepted(accepted):
    found = named("before")
    assert found
    over = [one for one in found if accepted[one[1]] >= Version(one[2])]
    assert not over, f"pyproject.toml accepts no version that needs these: {over}"
