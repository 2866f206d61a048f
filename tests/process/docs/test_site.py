"""The documentation site builds without warnings and a network; its links lead somewhere, its reference is whole."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

ROOT = Path(__file__).resolve().parents[3]
PACKAGE = ROOT / "src" / "ladd_hf"
MISSING = [name for name in ("mkdocs", "material", "mkdocstrings", "griffe", "pymdownx") if find_spec(name) is None]
# Markdown that was not understood as what it is in the repository's view.
MARKUP = re.compile(r"^([*-]|\d+\.|:::) |^\|.*\|$|```|(?<!\w)\*\*\w|\]\(", re.MULTILINE)

pytestmark = pytest.mark.skipif(
    bool(MISSING),
    reason=f'{", ".join(MISSING)} not installed: `pip install "ladd_hf[docs]"` brings what builds the site',
)


class Html(HTMLParser):
    """A page's anchors, its links, what it loads, and the texts of its paragraphs without their code."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.anchors: set[str] = set()
        self.links: list[str] = []
        self.loaded: list[str] = []
        self.paragraphs: list[str] = []
        self.codes: set[str] = set()
        self._open: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        values = dict(attrs)
        self.anchors |= {values[key] for key in ("id", "name") if values.get(key)}
        targets = [values[key] for key in ("href", "src") if values.get(key)]
        (self.links if tag == "a" else self.loaded).extend(targets)
        if tag in ("p", "code"):
            self._open.append(tag)
            if tag == "p":
                self.paragraphs.append("")

    def handle_endtag(self, tag):
        if tag in self._open:
            self._open.remove(tag)

    def handle_data(self, data):
        if "code" in self._open:
            self.codes.add(data)
        elif "p" in self._open:
            self.paragraphs[-1] += data


@pytest.fixture(scope="module")
def built(tmp_path_factory) -> tuple[Path, str]:
    """The folder of the site, and what its making printed."""
    folder = tmp_path_factory.mktemp("site")
    # the theme's announcement of another version of mkdocs is no warning of this site
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", folder]
    process = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300)
    assert process.returncode == 0, process.stdout + process.stderr
    return folder, process.stdout + process.stderr


@pytest.fixture(scope="module")
def pages(built) -> dict[Path, Html]:
    """The pages by their files; that of missing pages links from the root of a server."""
    folder, _ = built
    return {path: Html(path.read_text("utf-8")) for path in folder.rglob("*.html") if path.name != "404.html"}


def targets(urls: list[str]) -> list[tuple[str, str, str]]:
    """Address, path and anchor of those that lead to this site."""
    parts = [(url, urlsplit(url)) for url in urls]
    return [(url, unquote(part.path), unquote(part.fragment)) for url, part in parts if not part.scheme + part.netloc]


def public_names() -> set[tuple[str, str]]:
    """Rooms and names: those of the stub, whose room is empty, and those in `__all__` of the rooms."""
    stub = ast.parse((PACKAGE / "__init__.pyi").read_text("utf-8"))
    names = {("", alias.asname) for node in stub.body if isinstance(node, ast.ImportFrom) for alias in node.names}
    for file in PACKAGE.glob("*/__init__.py"):
        for node in ast.parse(file.read_text("utf-8")).body:
            if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
                names |= {(file.parent.name, name) for name in ast.literal_eval(node.value)}
    return names


def test_nothing_is_warned_of(built):
    assert not re.search(r"warning|error|critical", built[1], re.IGNORECASE), built[1]


def test_every_link_leads_to_a_file_and_an_anchor_of_the_site(built, pages):
    folder, found = built[0].resolve(), 0
    for path, page in pages.items():
        for url, file, anchor in targets(page.links + page.loaded):
            target = (path.parent / file).resolve() if file else path
            assert target.is_relative_to(folder) and target.is_file(), f"{path.relative_to(folder)}: {url}"
            assert not anchor or anchor in pages[target].anchors, f"{path.relative_to(folder)}: {url}"
            found += 1
    assert found > 1000


def test_nothing_is_loaded_from_elsewhere(built, pages):
    for page in pages.values():
        assert len(targets(page.loaded)) == len(page.loaded)
    for style in built[0].rglob("*.css"):
        assert not re.search(r"@import|url\([\"']?(?:https?:)?//", style.read_text("utf-8")), style.name


def test_markup_is_understood(pages):
    left = {path.name: [text for text in page.paragraphs if MARKUP.search(text)] for path, page in pages.items()}
    assert {name: texts for name, texts in left.items() if texts} == {}


def test_every_public_name_has_its_entry(built, pages):
    entries = set().union(*(page.anchors for path, page in pages.items() if path.parent.name == "api"))
    of_package = {name for room, name in public_names() if not room}
    missing = [
        f"{room}.{name}".strip(".")
        for room, name in public_names()
        if f"ladd_hf.{name}" not in entries and (name in of_package or f"ladd_hf.{room}.{name}" not in entries)
    ]
    assert len(entries) > len(of_package) > 40 and missing == []


def test_of_files_that_are_no_pages_the_site_shows_the_path(built, pages):
    found = 0
    for source in sorted((ROOT / "docs").glob("*.md")):
        for target in re.findall(r"\]\(\.\./([^)\s#]+)\)", source.read_text("utf-8")):
            if target.endswith((".json", ".log")):
                assert target in pages[built[0] / f"{source.stem}.html"].codes, f"{source.name}: {target}"
                found += 1
    assert found > 5
