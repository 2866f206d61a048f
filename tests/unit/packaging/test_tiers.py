"""Every test belongs to a tier, by the folder that it is in, and needs no more than its tier may."""

from __future__ import annotations

import re
from pathlib import Path

TESTS = Path(__file__).resolve().parents[2]
TIERS = ("unit", "integration", "process")
FILES = {str(path.relative_to(TESTS)): path.read_text("utf-8") for path in sorted(TESTS.rglob("test_*.py"))}


def files_with(pattern: str, *tiers: str) -> list[str]:
    return [name for name, text in FILES.items() if name.startswith(tiers) and re.search(pattern, text, re.MULTILINE)]


def test_every_file_is_in_the_folder_of_a_tier():
    assert [name for name in FILES if name.split("/")[0] not in TIERS] == []


def test_every_test_has_the_marker_of_its_folder_and_no_other(request):
    for item in request.session.items:
        tiers = [marker.name for marker in item.iter_markers() if marker.name in TIERS]
        assert tiers == [item.path.relative_to(TESTS).parts[0]], item.nodeid


def test_only_the_last_tier_starts_processes_and_servers():
    starts = r"^(import subprocess|from helpers\.(example_runs import .*train_apart|hub import .*LoopbackHub))"
    assert files_with(starts, "unit/", "integration/") == []


def test_the_first_tier_trains_nothing():
    assert files_with(r"rainer\b.*\.train\(", "unit/") == []
