"""Samples in TensorBoard, trackio and wandb: their texts, and a plot of their scores."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterable
from math import nan
from typing import Any

import numpy as np
from numpy.typing import NDArray
from transformers import TrainerCallback
from transformers.integrations import TensorBoardCallback, TrackioCallback, WandbCallback
from transformers.integrations.integration_utils import INTEGRATION_TO_CALLBACK, rewrite_logs
from transformers.utils import logging

from .log_samples import LoggedSamples, samples_name

logger = logging.get_logger(__name__)

Texts = dict[str, list[str]]  # samples by the name of their place
Images = dict[str, NDArray[np.uint8]]  # plots `(H, W, 3)` by the name of their place


def report_samples(drawn: LoggedSamples, prefix: str, callbacks: Iterable[TrainerCallback]) -> None:
    """Sends texts and plots to the integrations among the callbacks of a trainer, in its first process; says once of
    each that shows none, that it gets the scores alone."""
    senders = [(one, send) for one in callbacks for kind, send in _SENDERS.items() if isinstance(one, kind)]
    for one in callbacks:
        if isinstance(one, _NUMBERS_ALONE):
            logger.warning_once(
                f"{type(one).__name__} is sent the scores of samples, but not their texts and plots, which "
                "tensorboard, trackio and wandb show (`report_to`)."
            )
    if not senders:
        return
    texts = {
        _place(f"{prefix}_{samples_name(schedule, budget)}"): rows
        for schedule, of_schedule in drawn.texts.items()
        for budget, rows in of_schedule.items()
        if rows
    }
    images = {_place(f"{prefix}_samples"): image for image in [plot(drawn)] if image is not None}
    for one, send in senders:
        send(one, drawn, texts, images)


def plot(drawn: LoggedSamples) -> NDArray[np.uint8] | None:
    """Plots the first measure against the number of evaluations, a line for each schedule, with its standard errors
    where the score gives them as `<measure>_stderr`: `(H, W, 3)` pixels.

    Returns `None` without matplotlib, which it says once, and for less than two numbers of evaluations.
    """
    if max(map(len, drawn.scores.values())) < 2:
        return None
    try:
        figures, agg = (importlib.import_module(f"matplotlib.{name}") for name in ("figure", "backends.backend_agg"))
    except ImportError:
        logger.warning_once("Plots of samples need matplotlib: install `ladd_hf[plot]`.")
        return None
    figure = figures.Figure(figsize=(6, 4), layout="tight")
    canvas, axes = agg.FigureCanvasAgg(figure), figure.add_subplot()
    measure = next(iter(next(iter(next(iter(drawn.scores.values())).values()))))
    for schedule, scores in drawn.scores.items():
        budgets = sorted(scores)
        heights, errors = ([scores[one].get(name, nan) for one in budgets] for name in (measure, f"{measure}_stderr"))
        axes.errorbar(budgets, heights, errors, marker="o", capsize=2, label=schedule)
    axes.set_xscale("log", base=2)
    axes.set_xlabel("denoiser evaluations")
    axes.set_ylabel(measure)
    axes.set_title(_caption(drawn))
    if len(drawn.scores) > 1:
        axes.legend()
    canvas.draw()
    pixels: NDArray[np.uint8] = np.asarray(canvas.buffer_rgba())[..., :3].copy()
    return pixels


def _caption(drawn: LoggedSamples) -> str:
    return f"step {drawn.step:,}: {drawn.about}"


def _place(name: str) -> str:
    """Returns a metric's name as transformers gives it to integrations: `eval/...` for `eval_...`."""
    (place,) = rewrite_logs({name: None})
    return str(place)


def _to_tensorboard(callback: Any, drawn: LoggedSamples, texts: Texts, images: Images) -> None:
    writer = callback.tb_writer
    for place, rows in texts.items():
        # TensorBoard reads Markdown, in which an indented block keeps lines and symbols as they are
        blocks = ["\n".join(f"    {line}" for line in row.splitlines() or [""]) for row in rows]
        numbered = [f"sample {number}\n\n{block}" for number, block in enumerate(blocks)]
        writer.add_text(place, "\n\n".join([_caption(drawn), *numbered]), drawn.step)
    for place, image in images.items():
        writer.add_image(place, image, drawn.step, dataformats="HWC")
    writer.flush()


def _to_tables(module: Any, drawn: LoggedSamples, texts: Texts, images: Images) -> None:
    """Logs tables and images with trackio or wandb, whose interfaces are alike."""
    tables = {
        place: module.Table(columns=["sample", "text"], data=[[number, row] for number, row in enumerate(rows)])
        for place, rows in texts.items()
    }
    shown = {place: module.Image(image, caption=_caption(drawn)) for place, image in images.items()}
    module.log({**tables, **shown, "train/global_step": drawn.step})


_SENDERS: dict[type, Callable[[Any, LoggedSamples, Texts, Images], None]] = {
    TensorBoardCallback: _to_tensorboard,
    TrackioCallback: lambda callback, *rest: _to_tables(callback._trackio, *rest),
    WandbCallback: lambda callback, *rest: _to_tables(callback._wandb, *rest),
}
# Integrations that are sent numbers while a model trains, and nothing else of it by us.
_NUMBERS_ALONE = tuple(
    kind for kind in INTEGRATION_TO_CALLBACK.values() if "on_log" in vars(kind) and kind not in _SENDERS
)
