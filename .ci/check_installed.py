"""Checks an installed ladd_hf: its metadata, and that every public name can be imported from it."""

import sys
from importlib.metadata import metadata
from pathlib import Path

import ladd_hf

about = metadata("ladd_hf")
assert about["Version"] == ladd_hf.__version__, f"version {about['Version']} of {ladd_hf.__version__}"
assert about["License-Expression"] == "Apache-2.0" and about["Requires-Python"] and about["Description-Content-Type"]
assert Path(ladd_hf.__file__).is_relative_to(sys.prefix), f"ladd_hf came from {ladd_hf.__file__}"
for name in ladd_hf.__all__:
    getattr(ladd_hf, name)
print(f"ladd_hf {ladd_hf.__version__}: {len(ladd_hf.__all__)} public names imported.")
