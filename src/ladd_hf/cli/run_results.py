"""Results that the training of a saved pipeline leaves in its folder as JSON: bounds before and after it, and facts."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from huggingface_hub import ModelCard

from ..diffusion.paths import path_name
from ..training.arguments import LaddTrainingArguments
from ..training.hub import training_recipe
from ..training.run_facts import running_command
from ..training.trainer import LaddTrainer
from ..utils.local_paths import public_model_name
from .command_line import refuse

RESULTS = "results.json"
Bounds = Mapping[str, Mapping[str, float]]  # metrics of the held-out texts "before" and "after" the training


def refuse_earlier(training: LaddTrainingArguments, made: str, names: tuple[str, ...], resumed: bool = False) -> None:
    """Refuses a folder with what an earlier run made, by its `names`, or with any run's results, unless it is moved
    aside, or, if that is possible, `resumed`."""
    folder = Path(str(training.output_dir))
    found = [name for name in names if (folder / name).exists()]
    held = f"a {made} {' and '.join(found)}" if found else "the results of a run"
    if (found or (folder / RESULTS).exists()) and not (training.start_anew or resumed):
        refuse(f"{folder} already holds {held}: give another --output_dir, or --start_anew, which moves it aside.")


def told_bounds(bounds: Bounds, training: LaddTrainingArguments) -> str:
    """Returns the line about the bounds."""
    found = ", ".join(f"{metrics['eval_loss']:.4f} {when}" for when, metrics in bounds.items())
    return f"held-out texts, nats per token along {path_name(training.nelbo_paths[0])}: {found}"


def derived_card(
    trainer: LaddTrainer, model: str, how: str, folder: str, texts: str, held_out: str, **options: Any
) -> ModelCard:
    """Returns the card of what is saved in a folder: a `model` that was trained further on `texts`, and `how`.

    A model of the Hub is named in the metadata as well.
    """
    base = public_model_name(model)
    if "/" in base:
        options = {"metadata": {"base_model": base}, **options}
    data = f"{texts}, beginning with the weights of {base},"
    return trainer.model_card(f"{base}, {how}", folder, data, held_out, **options)


def save_results(trainer: LaddTrainer, bounds: Bounds, saved: Mapping[str, Path]) -> None:
    """Writes the file; `saved` are the folders of what was made, by name."""
    folder, command = Path(str(trainer.args.output_dir)), running_command(trainer.args.world_size)
    results: dict[str, Any] = {
        "command": command,
        "facts": training_recipe(trainer, command=command).facts,
        "stages": trainer.args.stage_plan.as_data(),
        "bounds": bounds,
        "saved": {name: path.relative_to(folder).as_posix() for name, path in saved.items()},
        "log": trainer.state.log_history,
        "training": {"flops": trainer.training_flops, "seconds": trainer.training_seconds},
    }
    (folder / RESULTS).write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")
