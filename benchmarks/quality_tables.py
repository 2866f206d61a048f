"""Tables and plots of quality against evaluations, operations and seconds, over seeds.

Trains each recipe at each seed as `text_table.py` does, into the same folders (complete runs are not repeated),
evaluates all models of a seed alike, and averages over the seeds.

    python benchmarks/quality_tables.py out/sawtooth --data sawtooth \\
        --recipes sawtooth-mdlm sawtooth-di sawtooth-co --schedules saved tuned --budgets 2 3 4 6 8 16 \\
        --num_samples 2000 --num_texts 200 --num_proposals 64 --name sawtooth
    python benchmarks/quality_tables.py out/text --data python-docs \\
        --recipes python-docs-mdlm-flops python-docs-mdlm-parameters python-docs-di --name python-docs

The baseline is the first schedule of the first recipe, or that of `--baseline`, such as `--baseline "sawtooth-mdlm
tuned"`. `benchmarks/results/NAME_quality.json`, `.md` and `.png` get the result, which `redraw_tables.py` writes anew
against another baseline. Other flags are passed to the trainings, as by `text_table.py`.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import datasets
import torch
import yaml
from diffusers.utils import logging as diffusers_logging
from text_table import ROOT, Run, there, trained
from transformers.utils import logging as transformers_logging

from ladd_hf.evaluation import Comparison, EvaluationResults, EvaluationSettings, evaluate_models, markdown_report
from ladd_hf.evaluation.comparison import check_baseline
from ladd_hf.evaluation.plots import quality_figure
from ladd_hf.evaluation.schedule_specs import ScheduleSpec
from ladd_hf.evaluation.seeds import compared_over_seeds
from ladd_hf.training.run_facts import running_command

RESULTS = ROOT / "benchmarks" / "results"


def pipeline_of(run: Run) -> Path:
    """Returns the folder of a run's pipeline."""
    (index,) = run.folder.glob("*/model_index.json")
    return index.parent


def evaluated(results: dict[Run, dict[str, Any]], options: argparse.Namespace, seed: int) -> list[EvaluationResults]:
    """Returns the evaluations of a seed's runs, given what their trainings left, under the names of their recipes."""
    runs = list(results)
    settings = EvaluationSettings(
        options.budgets,
        options.schedules,
        num_samples=options.num_samples,
        num_texts=options.num_texts,
        num_proposals=options.num_proposals,
        proposal_width=options.proposal_width,
        timing_rounds=options.timing_rounds,
        batch_size=options.batch_size,
        seed=seed,
    )
    models = [str(pipeline_of(run)) for run in runs]
    folder = options.folder / f"evaluation-{options.name}-{seed}"
    found = evaluate_models(models, options.data, settings, folder, options.judges or None, tell=print).results
    for run, one in zip(runs, found, strict=True):
        one.model = {"training": known_cost(results[run]), **one.model, "name": run.recipe}
    return list(found)


def choice(given: str) -> Any:
    """Reads a name, corners of a path, or a mapping with options."""
    try:
        return yaml.safe_load(given) if given[:1] in ("{", "[") else given
    except yaml.YAMLError as error:
        raise argparse.ArgumentTypeError(f"{given!r} is not YAML") from error


def known_cost(results: dict[str, Any]) -> dict[str, Any]:
    """Returns the cost of a run's training as evaluations hold it, for pipelines that were saved without it."""
    (log,), (cost,) = results["log"].values(), results["training"].values()
    steps = max((entry["step"] for entry in log), default=0)
    return {"steps": steps, **cost, "hardware": results["facts"]["hardware"], "stages": []}


def training_costs(results: dict[Run, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Returns the cost of each run's training, as its results hold it."""
    return {run.name: next(iter(one["training"].values())) for run, one in results.items()}


def write_tables(comparison: Comparison, about: dict[str, Any], stem: Path) -> str:
    """Writes the table, the plot, unless there are bounds alone, and the JSON, with what is to stand about it before
    the comparison; returns the table."""
    report = markdown_report(comparison)
    stem.with_suffix(".md").write_text(report)
    if comparison.curves():
        quality_figure(comparison).savefig(stem.with_suffix(".png"), dpi=150)
    stem.with_suffix(".json").write_text(json.dumps(about | comparison.data(), indent=1) + "\n")
    return report


def main() -> None:
    """Writes the table, the plot and the JSON, and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0], allow_abbrev=False)
    parser.add_argument("folder", type=Path, help="holds a folder for each run")
    parser.add_argument("--name", required=True, help="of the results")
    parser.add_argument("--data", required=True)
    parser.add_argument("--recipes", nargs="+", required=True)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--budgets", type=int, nargs="+", default=[2, 4, 8, 16, 32])
    parser.add_argument("--schedules", type=choice, nargs="+", default=["saved"])
    parser.add_argument("--baseline", help="a recipe and one of the schedules; by default the first of both")
    parser.add_argument("--judges", type=choice, nargs="+", default=[])
    parser.add_argument("--num_samples", type=int, default=300)
    parser.add_argument("--num_texts", type=int, default=0)
    parser.add_argument("--num_proposals", type=int, default=0)
    parser.add_argument("--proposal_width", type=float)
    parser.add_argument("--timing_rounds", type=int, default=5)
    parser.add_argument("--batch_size", type=int, default=100, help="samples at once")
    parser.add_argument("--threads", type=int, default=0, help="of each training; 0: all cores")
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder of the tables")
    parser.add_argument("--no_training", action="store_true", help="evaluate the runs that are there")
    options, flags = parser.parse_known_args()
    try:  # before anything is trained
        labels = [
            f"{one} {ScheduleSpec.parsed(schedule).name}" for one in options.recipes for schedule in options.schedules
        ]
        check_baseline(options.baseline, labels)
    except ValueError as error:
        parser.error(str(error))
    for library in (datasets, diffusers_logging, transformers_logging):
        library.disable_progress_bar()
    if options.threads:
        torch.set_num_threads(options.threads)
    by_recipe: dict[str, list[EvaluationResults]] = {}
    costs: dict[str, Any] = {}
    for seed in options.seeds:
        runs = [Run(recipe, seed, tuple(flags), options.folder / f"{recipe}-{seed}") for recipe in options.recipes]
        results = dict(there(runs) if options.no_training else trained(runs, options.threads))
        costs |= training_costs(results)
        for one in evaluated(results, options, seed):
            by_recipe.setdefault(one.model["name"], []).append(one)
    comparison = compared_over_seeds(list(by_recipe.values()), options.baseline)
    about = {"command": running_command(), "training": costs}
    report = write_tables(comparison, about, options.results / f"{options.name}_quality")
    print(f"\n{report}")


if __name__ == "__main__":
    main()
