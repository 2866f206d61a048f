"""Comparisons in a JSON file, of which tables and plots can be made anew, against another baseline, too."""

from __future__ import annotations

import json
from pathlib import Path

from .comparison import Comparison, compared
from .results import EvaluationResults
from .seeds import compared_over_seeds


def load_comparison(path: str | Path, baseline: str | None = None) -> Comparison:
    """Reads the comparison in a file with what `Comparison.data` gives, such as `evaluate_ladd.py --json` and
    `benchmarks/quality_tables.py` write.

    Args:
        path: of the file.
        baseline: label of another baseline; that of the file by default.

    Raises `ValueError` for any other file, and for a baseline that it does not hold.
    """
    file = Path(path)
    try:
        data = json.loads(file.read_text(encoding="utf-8"))
        models = [EvaluationResults.of_data(one) for one in data["models"]]
        by_seed = [[EvaluationResults.of_data(one) for one in found] for found in data.get("by_seed", {}).values()]
        named = data.get("baseline")
    except (ValueError, KeyError, TypeError, AttributeError, UnicodeDecodeError) as error:
        raise ValueError(
            f"{file} does not hold a comparison of models ({error}): give a file of `evaluate_ladd.py --json` or "
            "`benchmarks/quality_tables.py`."
        ) from error
    baseline = named if baseline is None else baseline
    return compared_over_seeds(by_seed, baseline) if by_seed else compared(models, baseline)
