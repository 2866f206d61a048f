"""Several saved models, evaluated alike: a file of results for each, a table and a plot in one folder."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Sequence
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from huggingface_hub import try_to_load_from_cache

from ..pipelines import LaddPipeline
from ..tasks.judges import JudgeSpec
from ..training.cost_files import COST_FILE, load_cost
from .comparison import Comparison, check_baseline, compared
from .evaluate import file_name, measure
from .identity import not_yet_measured
from .plots import quality_figure
from .report import markdown_report
from .results import EvaluationResults
from .schedule_specs import ScheduleSpec
from .settings import EvaluationSettings
from .tasks import least_tokens, task_for
from .timing import Measured, time_rows

TABLE, PLOT, EQUAL_COST = "table.md", "quality.png", "equal-cost.json"
COMMAND = "command.txt"  # that made the folder, where a script did


def evaluate_models(
    models: Sequence[str | os.PathLike[str]],
    data: str,
    settings: EvaluationSettings,
    folder: str | Path,
    judges: Sequence[JudgeSpec] | None = None,
    dtype: torch.dtype | None = None,
    accelerator: Accelerator | None = None,
    tell: Callable[[str], None] | None = None,
    baseline: str | None = None,
    **options: Any,
) -> Comparison:
    """Evaluates pipelines on the same data with the same settings, and compares them with one of them.

    The folder gets `<name>.json` for each model, with which a run that was stopped goes on, the table `table.md`, its
    comparisons at equal cost as `equal-cost.json`, and, where matplotlib is installed, the plot `quality.png`.

    If rows are timed, all rows of all models take turns, so that ratios of seconds do not depend on when a model was
    measured; for that all models stay in memory. A later call that adds a row or a model times all of its rows anew.

    Args:
        models: folders, or repositories of the Hub.
        data: see [`task_for`]; each model reads it with its own tokenizer.
        settings: see [`EvaluationSettings`].
        folder: for the results.
        judges: see [`task_for`].
        dtype: of the weights; as saved by default.
        accelerator: device and processes.
        tell: is called with a line about each row.
        baseline: a model's name in the tables and one of the schedules, such as `mdlm tuned`; by default the first
            model and its first schedule. Nothing that is measured depends on it.
        options: of [`task_for`].

    Raises `ValueError` for no models, for a baseline that is none of them with one of the schedules, for a folder with
    results of another evaluation, for models that cannot be compared on this data (before they are measured), and the
    errors of loading them.
    """
    if isinstance(models, str) or not models:
        raise ValueError(f"`models` is {models!r}; give a list of folders or repositories.")
    accelerator = accelerator or Accelerator()
    found: list[Measured] = []
    paths = [os.fspath(model) for model in models]
    load = partial(LaddPipeline.from_pretrained, **({} if dtype is None else {"dtype": dtype}))
    names = short_names(paths)
    check_baseline(
        baseline, [f"{name} {ScheduleSpec.parsed(one).name}" for name in names for one in settings.schedules]
    )
    # padded texts that one of the models cannot read are left out for all: one after the other, as they may be large
    fewest = max(least_tokens(load(model).model.config) for model in paths)
    for model, name in zip(paths, names, strict=True):
        pipeline = load(model).to(accelerator.device)
        with accelerator.main_process_first():  # the others load texts and blocks from its cache
            task = task_for(pipeline, data, judges, settings.num_samples, min_tokens=fewest, **options)
            task.eval_dataset(1, 0)
        if tell is not None and accelerator.is_main_process:
            tell(f"{name}:")
        path = Path(folder) / f"{file_name(name)}.json"
        compared([*(one.results for one in found), not_yet_measured(pipeline, task, settings, name)])
        found.append(measure(pipeline, task, settings, name, path, accelerator, tell, _training_cost(model)))
    time_rows(found, settings, accelerator)
    comparison = compared([one.results for one in found], baseline)
    if accelerator.is_main_process:
        (Path(folder) / TABLE).write_text(markdown_report(comparison), encoding="utf-8")
        equal_cost = json.dumps(comparison.equal_cost_data(), indent=1) + "\n"
        (Path(folder) / EQUAL_COST).write_text(equal_cost, encoding="utf-8")
        shown = settings.temperatures[0]
        if comparison.curves(temperature=shown) and find_spec("matplotlib") is not None:
            quality_figure(comparison, shown).savefig(Path(folder) / PLOT, dpi=150)
    return comparison


def _training_cost(model: str) -> dict[str, Any]:
    """Returns what a model's folder or repository says its training cost."""
    if Path(model).is_dir():
        return load_cost(model)
    cached = try_to_load_from_cache(model, COST_FILE)  # where the pipeline's files are by now
    return load_cost(Path(cached).parent) if isinstance(cached, str) else {}


def results_in(folder: str | Path) -> list[EvaluationResults]:
    """Returns the results of all models that an evaluation left in a folder, by name of their files."""
    paths = sorted(path for path in Path(folder).glob("*.json") if path.name != EQUAL_COST)
    return [EvaluationResults.load(path) for path in paths]


def short_names(models: Sequence[str]) -> list[str]:
    """Returns the last parts of the models' names, as many as tell them apart."""
    parts = [[part for part in re.split(r"[\\/]", model) if part] for model in models]
    for length in range(1, max(map(len, parts)) + 1):
        names = ["/".join(one[-length:]) for one in parts]
        if len(set(names)) == len(names):
            return names
    raise ValueError(f"The models are {list(models)}, of which two are the same: name each once.")
