"""The files that state the version agree with the package."""

import re
from pathlib import Path

import yaml
from packaging.version import Version

import ladd_hf

ROOT = Path(__file__).resolve().parents[3]


def test_the_citation_states_the_version_of_the_package() -> None:
    assert yaml.safe_load((ROOT / "CITATION.cff").read_text())["version"] == ladd_hf.__version__


def test_the_changelog_opens_with_the_release_the_package_leads_to() -> None:
    latest = re.search(r"^## \[(.+?)\]", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert latest and latest[1] == Version(ladd_hf.__version__).base_version
