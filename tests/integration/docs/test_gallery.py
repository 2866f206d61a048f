"""The gallery shows every picture that there is, each with its sentence, and stays small."""

from __future__ import annotations

import re
from pathlib import Path

from PIL import Image

DOCS = Path(__file__).resolve().parents[3] / "docs"
PAGE = (DOCS / "gallery.md").read_text()
PICTURES = sorted((DOCS / "pictures").iterdir())


def test_it_shows_every_picture_with_a_sentence():
    shown = re.findall(r"^!\[.*\]\(pictures/(.*)\)\n\n[A-Z](?:.+\n)*.*\.$", PAGE, re.MULTILINE)
    assert sorted(shown) == [path.name for path in PICTURES] and len(shown) > 8


def test_its_pictures_can_be_read_and_are_small():
    for path in PICTURES:
        with Image.open(path) as image:
            assert image.format == path.suffix[1:].upper()
            image.load()
    assert sum(path.stat().st_size for path in PICTURES) < 1_500_000
