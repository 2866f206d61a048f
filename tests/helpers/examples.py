"""The examples as modules."""

from __future__ import annotations

import sys
from pathlib import Path

# as it is where the example is run: its modules stand beside it
sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "examples"))

import convert_checkpoint
import evaluate_ladd
import finetune_lora
import gallery_evaluations
import generate
import make_gallery
import recipe_stages
import recipes
import reporting
import train_ladd
from gallery_page import folded
from local_texts import lines_of

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
    "train_ladd",
]
