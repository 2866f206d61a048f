"""The examples as modules."""

from __future__ import annotations

import sys
from pathlib import Path

# as it is where the example is run: its modules stand beside it
sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "examples"))

import gallery_evaluations
import make_gallery
import run_notebooks
from gallery_page import folded

from ladd_hf.cli import convert as convert_checkpoint
from ladd_hf.cli import evaluate as evaluate_ladd
from ladd_hf.cli import finetune as finetune_lora
from ladd_hf.cli import recipe_stages, recipes, reporting
from ladd_hf.cli import train as train_ladd
from ladd_hf.cli import write as generate
from ladd_hf.cli.local_texts import lines_of

__all__ = [
    "convert_checkpoint",
    "evaluate_ladd",
    "finetune_lora",
    "folded",
    "gallery_evaluations",
    "generate",
    "lines_of",
    "make_gallery",
    "recipe_stages",
    "recipes",
    "reporting",
    "run_notebooks",
    "train_ladd",
]
