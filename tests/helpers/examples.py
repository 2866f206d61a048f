"""The example that trains, as a module."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

_spec = importlib.util.spec_from_file_location(
    "train_ladd", Path(__file__).resolve().parents[2] / "examples" / "train_ladd.py"
)
train_ladd = importlib.util.module_from_spec(_spec)
sys.modules["train_ladd"] = train_ladd  # dataclasses look their annotations up there
_spec.loader.exec_module(train_ladd)
