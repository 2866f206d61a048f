"""The gallery shows every picture that there is, each with its sentence, and stays small."""

from __future__ import annotations

import re
from pathlib import Path
from xml.etree import ElementTree

from PIL import Image

DOCS = Path(__file__).resolve().parents[3] / "docs"
PAGE = (DOCS / "gallery.md").read_text()
PICTURES = sorted((DOCS / "pictures").iterdir())


def test_it_shows_every_picture_with_a_sentence():
    shown = re.findall(r"^!\[.*\]\(pictures/(.*)\)\n\n[A-Z](?:.+\n)*.*\.$", PAGE, re.MULTILINE)
    pages = [DOCS.parent / "README.md", *(page for page in DOCS.glob("*.md") if page.name != "gallery.md")]
    elsewhere = {name for page in pages for name in re.findall(r"\]\((?:docs/)?pictures/([^)]*)\)", page.read_text())}
    names = [path.name for path in PICTURES]
    assert set(shown) <= set(names) and len(set(shown)) == len(shown) > 8
    assert set(names) <= {*shown, *elsewhere}  # none lies about unseen


def test_its_pictures_can_be_read_and_are_small():
    for path in PICTURES:
        if path.suffix == ".svg":
            assert ElementTree.parse(path).getroot().tag.endswith("svg")
            continue
        with Image.open(path) as image:
            assert image.format == path.suffix[1:].upper()
            image.load()
    assert sum(path.stat().st_size for path in PICTURES) < 1_500_000
