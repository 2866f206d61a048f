"""Files of runs in an output folder, and moving them aside for a new run."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from pathlib import Path

from .adapters import ADAPTER_FILE

# Files that mark a finished run, besides checkpoints.
FILES_OF_A_MODEL = (
    "model_index.json",
    "model.safetensors",
    "model.safetensors.index.json",
    ADAPTER_FILE,
    "training_args.bin",
)
# Files that accompany those.
_COMPANIONS = (
    *("config.json", "generation_config.json", "adapter_config.json", "README.md", "trainer_state.json"),
    *("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "chat_template.jinja"),
    *("model", "scheduler", "tokenizer", "pipeline.py", "all_results.json", "train_results.json", "eval_results.json"),
)
_NUMBERED = re.compile(r"checkpoint-\d+|model-\d+-of-\d+\.safetensors")


def set_aside(folder: str | os.PathLike, also: Iterable[str] = ()) -> Path | None:
    """Moves a run's checkpoints and models to the first free one of the subfolders `_previous-1`, `_previous-2` and so
    on, and returns it; `None` if there is no run.

    (Names that begin with an underscore are not uploaded with a run's folder.) Nothing is deleted, and other files stay
    in place. `also` are further names that mark a run, and move with it.
    """
    folder = Path(folder)
    if not folder.is_dir():
        return None
    of_a_run = {*FILES_OF_A_MODEL, *also}
    names = sorted(path.name for path in folder.iterdir())
    if not any(name in of_a_run or _NUMBERED.fullmatch(name) for name in names):
        return None
    taken = [int(name.removeprefix("_previous-")) for name in names if re.fullmatch(r"_previous-\d+", name)]
    aside = folder / f"_previous-{max(taken, default=0) + 1}"
    aside.mkdir()
    for name in names:
        if name in of_a_run or name in _COMPANIONS or _NUMBERED.fullmatch(name):
            (folder / name).rename(aside / name)
    return aside
