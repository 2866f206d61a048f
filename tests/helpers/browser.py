"""The browser of tests that walk through a page."""

from __future__ import annotations

import os
import shutil
from importlib.util import find_spec

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome")
# Set to 1 where the page has to be tried, as in the workflow `tests`; `.ci/run` does not set it.
REQUIRED = "LADD_NEEDS_CHROMIUM"


def chromium() -> str:
    """Returns the path of this machine's Chromium. Where it, or a package that the page needs, is missing, the test is
    skipped, or fails if the environment says that it must not be."""
    missing = [name for name in ("gradio", "playwright") if find_spec(name) is None]
    found = next(filter(None, map(shutil.which, NAMES)), None)
    if found is not None and not missing:
        return found
    reason = (
        f'{", ".join(missing)} not installed: `pip install "ladd_hf[test]"` brings it'
        if missing
        else "no Chromium on this machine: `apt-get install chromium` brings it"
    )
    if os.environ.get(REQUIRED) == "1":
        pytest.fail(f"{reason} ({REQUIRED} is set)")
    pytest.skip(reason)
