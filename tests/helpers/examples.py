"""The examples that train and evaluate, and the recipes, as modules."""

from __future__ import annotations

import sys
from pathlib import Path

# as it is where the example is run: its modules stand beside it
sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "examples"))

import evaluate_ladd
import recipe_stages
import recipes
import train_ladd

__all__ = ["evaluate_ladd", "recipe_stages", "recipes", "train_ladd"]
