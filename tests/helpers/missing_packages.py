"""Packages that are not installed, as far as a test can see."""

from __future__ import annotations

import sys


class _NotFound:
    def __init__(self, package):
        self.package = package

    def find_spec(self, name, path=None, target=None):
        if name == self.package:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)


def hide(package, monkeypatch):
    """Lets imports of a package fail until the test ends."""
    for name in [one for one in sys.modules if one.split(".")[0] == package]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(sys, "meta_path", [_NotFound(package), *sys.meta_path])
