"""Text models at equal diversity of their samples: LADD's runs beside MDLM's of many temperatures.

    python benchmarks/quality_tables.py out/text --data python-docs --name python-docs-temperatures-mdlm --threads 1 \\
        --batch_size 25 --timing_rounds 0 --judges ngram entropy diversity '{"name": "memorization", "window": 24}' \\
        --recipes python-docs-mdlm-flops \\
        --schedules '{path: saved, temperature: 0.8}' '{path: saved, temperature: 0.6}'
    python benchmarks/equal_diversity.py benchmarks/results/python-docs-temperatures-mdlm_quality.json \\
        benchmarks/results/python-docs-tempered_quality.json --name python-docs-equal-diversity \\
        --line "python-docs-mdlm-flops saved" MDLM --line "python-docs-di saved" "Di-LADD sequential" ...

A run is compared with what MDLM scores at as many evaluations, and at as many operations, where its samples are as
diverse, by linear interpolation between its temperatures, each training with the baseline's at its seed
(`ladd_hf.evaluation.at_equal_diversity`). The first model of the first file is the baseline; a model that several files
hold is read from the first one. `benchmarks/results/NAME.json` gets the result, and `NAME.png` the plot.
"""

from __future__ import annotations

import argparse
import itertools
import json
from pathlib import Path
from typing import Any

from quality_tables import RESULTS

from ladd_hf.evaluation import Comparison, EvaluationResults
from ladd_hf.evaluation.comparison import labels_of
from ladd_hf.evaluation.diversity_plot import diversity_figure
from ladd_hf.evaluation.equal_diversity import at_equal_diversity
from ladd_hf.evaluation.seeds import compared_over_seeds
from ladd_hf.training.run_facts import running_command

MEASURES = ("entropy", "distinct_4", "self_bleu")


def joined(files: list[Path]) -> Comparison:
    """Returns one comparison of the models in all files, over their seeds."""
    models: dict[str, list[EvaluationResults]] = {}
    for file in files:
        for name, found in json.loads(file.read_text())["by_seed"].items():
            models.setdefault(name, [EvaluationResults.of_data(one) for one in found])
    return compared_over_seeds(list(models.values()))


def found_at_equal_diversity(comparison: Comparison) -> list[dict[str, Any]]:
    """Returns the comparisons with the first model of all other curves: a mapping for each run, with what
    `EqualDiversity` holds, the measure of diversity, and the axis of cost."""
    first, *others = comparison.results
    found = []
    for axis, measure in itertools.product(("nfe", "flops"), MEASURES):
        for run in [name for one in others for name in labels_of(one)]:
            place = {"axis": axis, "measure": measure, "run": run}
            runs = at_equal_diversity(comparison, run, labels_of(first), measure, axis)
            found += [{**place, **one.data()} for one in runs]
    return found


def table_row(label: str, found: list[dict[str, Any]], budgets: list[int]) -> str:
    """Formats a row: the change of perplexity with its standard error, or that the baseline has nothing to compare."""
    runs = {one["num_steps"]: one for one in found}
    cells = []
    for one in map(runs.get, budgets):
        if one is None or one["baseline"] is None:
            cells.append("" if one is None else f"no such {one['beyond']}")
        else:
            error = "" if one["change_stderr"] is None else f" ± {one['change_stderr']:.0%}"  # not at each seed
            cells.append(f"{one['change']:+.0%}{error}".replace("-", "−"))
    return f"| {label} | {' | '.join(cells)} |"


def main() -> None:
    """Writes the result and the plot, and prints the tables."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0], allow_abbrev=False)
    parser.add_argument("files", nargs="+", type=Path, help="JSON of `quality_tables.py`")
    parser.add_argument("--name", required=True, help="of the results")
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument(
        "--line", nargs=2, action="append", default=[], metavar=("LABEL", "NAME"), help="of the plot; all if not given"
    )
    options = parser.parse_args()
    comparison = joined(options.files)
    found = found_at_equal_diversity(comparison)
    budgets = sorted({row["num_steps"] for one in comparison.results for row in one.rows})
    for (axis, measure), rows in itertools.groupby(found, key=lambda one: (one["axis"], one["measure"])):
        print(f"\nChange of perplexity at equal {measure} and {axis}\n\n| run | {' | '.join(map(str, budgets))} |")
        print("| --- " * (len(budgets) + 1) + "|")
        for run, runs in itertools.groupby(rows, key=lambda one: one["run"]):
            print(table_row(run, list(runs), budgets))
    stem = options.results / options.name
    data = {"command": running_command(), "at_equal_diversity": found}
    stem.with_suffix(".json").write_text(json.dumps(data, indent=1) + "\n")
    diversity_figure(comparison, names=dict(options.line) or None).savefig(stem.with_suffix(".png"), dpi=150)


if __name__ == "__main__":
    main()
