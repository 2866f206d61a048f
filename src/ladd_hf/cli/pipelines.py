"""Pipelines for the jobs: loaded from a folder or the Hub, on their device, with the schedule that was asked for."""

from __future__ import annotations

import re
from difflib import get_close_matches
from pathlib import Path

import torch
from diffusers.utils import logging as diffusers_logging
from transformers.utils import logging as transformers_logging

from ..diffusion.paths import TIME_PATHS
from ..diffusion.token_waiting import TOKEN_WAITINGS
from ..pipelines.included import included_pipeline, included_pipelines
from ..pipelines.pipeline_ladd import LaddPipeline
from ..schedulers.rescheduled import rescheduled
from ..schedulers.scheduling_ladd import LaddScheduler
from .command_line import loading, refuse

DTYPES = ("float32", "bfloat16", "float16")
_REPOSITORY = re.compile(r"\w[\w.-]*/\w[\w.-]*")


def check_sampling(schedule: str | None, token_waiting: str | None, dtype: str, dashes: bool = False) -> None:
    """Refuses a schedule, a waiting or a type that does not exist, before anything is loaded; with `dashes` flags are
    spelt with them."""
    if schedule is not None:
        if schedule.isidentifier() and (schedule not in TIME_PATHS or TIME_PATHS[schedule].vertices[0] != (1, 1)):
            whole = ", ".join(name for name in TIME_PATHS if TIME_PATHS[name].vertices[0] == (1, 1))
            refuse(f"--schedule {schedule} is unknown; give {whole} or corners, such as '[[1, 1], [1, 0.3], [0, 0]]'.")
        try:
            LaddScheduler(path=schedule)
        except ValueError as error:
            refuse(f"--schedule {schedule}: {error}")
    if token_waiting is not None and token_waiting not in TOKEN_WAITINGS:
        flag = "--token-waiting" if dashes else "--token_waiting"
        refuse(f"{flag} {token_waiting} is unknown; give one of {', '.join(TOKEN_WAITINGS)}.")
    if dtype not in DTYPES:
        refuse(f"--dtype {dtype} is unknown; give {', '.join(DTYPES[:-1])} or {DTYPES[-1]}.")


def folder_of_included(model: str) -> str:
    """Returns the folder of an included pipeline that is named, and any other name as it is."""
    return included_pipeline(model) if not Path(model).exists() and model in included_pipelines() else model


def model_source(model: str) -> str:
    """Returns the folder or repository of a model: as it was given, or the folder of an included one, given by name.

    Raises `ValueError` for what is neither, which the Hub need not be asked for.
    """
    model = folder_of_included(model)
    inside = [index.parent for index in sorted(Path(model).glob("*/model_index.json"))] if Path(model).is_dir() else []
    if inside and not (Path(model) / "model_index.json").exists():
        raise ValueError(f"the folder holds pipelines and is none itself: give {' or '.join(map(str, inside))}.")
    if not Path(model).is_dir() and (Path(model).exists() or not _REPOSITORY.fullmatch(model)):
        close = get_close_matches(model, included_pipelines(), 1)
        meant = f"did you mean {close[0]}? Give" if close else "give"
        raise ValueError(
            f"there is no such folder: {meant} one that holds a pipeline, a repository as user/name, or an included "
            f"pipeline, {' or '.join(included_pipelines())}."
        )
    return model


def loaded_pipeline(
    model: str,
    device: torch.device,
    dtype: str = "float32",
    schedule: str | None = None,
    token_waiting: str | None = None,
    flag: str = "",
) -> LaddPipeline:
    """Returns a pipeline on its device, with the requested schedule and waiting, and the saved scheduler's other
    options. Raises `ValueError`, which names the model by its `flag`, if it cannot be loaded."""
    with loading(f"{flag} {model}".strip()):
        pipeline = LaddPipeline.from_pretrained(model_source(model), dtype=getattr(torch, dtype))
    waiting = {} if token_waiting is None else {"token_waiting": token_waiting}
    pipeline.scheduler = rescheduled(pipeline.scheduler, schedule, **waiting)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline.to(device)


def default_device(cpu: bool = False) -> torch.device:
    """Returns the machine's accelerator if it has one with float64, in which categories are drawn, else the CPU."""
    found = None if cpu else torch.accelerator.current_accelerator(check_available=True)
    return torch.device("cpu") if found is None or found.type == "mps" else found


def quiet_libraries() -> None:
    """Keeps transformers and diffusers from telling of anything but errors."""
    for library in (transformers_logging, diffusers_logging):
        library.set_verbosity_error()
        library.disable_progress_bar()
