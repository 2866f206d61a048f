"""Evaluations on the page of `make_gallery.py`: of a folder, or of a file with the means of several trainings."""

from __future__ import annotations

import json
import re
from pathlib import Path

from gallery_page import Section

from ladd_hf.evaluation import Comparison, compared, quality_figure
from ladd_hf.evaluation.comparison_files import load_comparison
from ladd_hf.evaluation.models import COMMAND, results_in

DPI = 80


def comparison_of(given: Path) -> Comparison:
    """Reads an evaluation. Of a folder an MDLM, if there is one, is the baseline.

    Raises `ValueError` for what is none.
    """
    if given.is_file():
        return load_comparison(given)
    results = sorted(results_in(given), key=lambda one: (one.model["method"] != "MDLM", one.model["name"]))
    if not results:
        raise ValueError(
            f"--evaluations {given} has no results; give a folder that evaluate_ladd.py has written, or a file of "
            "quality_tables.py."
        )
    return compared(results)


def of_evaluation(given: Path, target: Path) -> Section:
    """Draws quality against costs."""
    comparison = comparison_of(given)
    task, settings = comparison.results[0].task["name"], comparison.results[0].settings
    name = f"{slug(given.stem.removesuffix('_quality') if given.is_file() else task)}-quality.png"
    quality_figure(comparison, comparison.temperatures[0]).savefig(target / name, dpi=DPI)
    axes = [
        words
        for axis, words in (("nfe", "evaluations"), ("flops", "operations"), ("seconds", "seconds"))
        if comparison.curves(axis, comparison.temperatures[0])
    ]
    costs = " and ".join([", ".join(axes[:-1]), axes[-1]] if len(axes) > 1 else axes)
    number, seeds = f"{settings['num_samples']:,} samples", settings["seed"]
    over = f"{len(seeds)} trainings, {number} of each" if isinstance(seeds, list) else number
    said = f"Samples of {task}: {comparison.main['metric']} at equal {costs}, with standard errors over {over}."
    section = Section(f"Quality: {task}", None, [(name, said)])
    if given.is_file():
        data = json.loads(given.read_text(encoding="utf-8"))
        section.command, section.said = data.get("command"), data.get("command_note", section.said)
    elif (file := given / COMMAND).is_file():
        section.command = file.read_text(encoding="utf-8").strip()
    return section


def slug(name: str) -> str:
    """Returns a name for a file."""
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")
