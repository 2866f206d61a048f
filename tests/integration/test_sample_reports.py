"""Samples in TensorBoard's files, and in what trackio and wandb are given."""

from __future__ import annotations

import importlib
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from helpers.training import texts
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from transformers.integrations import AzureMLCallback, TensorBoardCallback, TrackioCallback, WandbCallback

from ladd_hf import LaddJointScheduler, LaddSequentialScheduler, LogSamples
from ladd_hf.training.log_samples import LoggedSamples
from ladd_hf.training.sample_reports import plot, report_samples

DRAWN = LoggedSamples(
    7, "latents and tokens", {"": {2: {"nats": 2.0}, 8: {"nats": 1.0}}}, {"": {2: ["a\n\n# b", ""], 8: ["c", "d"]}}
)


def test_texts_and_a_plot_are_in_tensorboards_files(make_trainer):
    schedulers = {"joint": LaddJointScheduler(), "sequential": LaddSequentialScheduler()}
    watch = LogSamples([2, 4], 3, schedulers, show=2)
    options = {"eval_strategy": "steps", "eval_steps": 3, "report_to": "tensorboard"}
    trainer = make_trainer("discrete", eval_data=texts(3), callbacks=[watch], **options)
    trainer.train()
    (folder,) = {path.parent for path in Path(trainer.args.output_dir).rglob("events*")}
    events = EventAccumulator(str(folder)).Reload()
    assert [one.step for one in events.Scalars("eval/samples_joint_2_entropy")] == [3, 6]
    for schedule in schedulers:
        for budget in (2, 4):
            written = events.Tensors(f"eval/samples_{schedule}_{budget}/text_summary")
            last = written[-1].tensor_proto.string_val[0].decode()
            assert [one.step for one in written] == [3, 6]
            assert "step 6: latents and tokens" in last and "sample 2" not in last
            assert all(f"\n    {row}" in last for row in watch.last.texts[schedule][budget])
    images = events.Images("eval/samples")
    assert [one.step for one in images] == [3, 6] and images[0].width == 600


def test_lines_and_symbols_of_a_text_stay_as_they_are():
    added = {}
    writer = SimpleNamespace(
        add_text=lambda place, text, step: added.__setitem__(place, (text, step)),
        add_image=lambda place, image, step, dataformats: added.__setitem__(place, (image.shape, dataformats)),
        flush=lambda: None,
    )
    callback = TensorBoardCallback(writer)
    report_samples(DRAWN, "eval_mine", [callback])
    text, step = added["eval/mine_samples_2"]
    assert text == "step 7: latents and tokens\n\nsample 0\n\n    a\n    \n    # b\n\nsample 1\n\n    " and step == 7
    assert added["eval/mine_samples"] == ((400, 600, 3), "HWC")


@pytest.mark.parametrize(("kind", "name"), [(WandbCallback, "_wandb"), (TrackioCallback, "_trackio")])
def test_trackio_and_wandb_are_given_tables_and_an_image(kind, name):
    logged = []
    callback = kind.__new__(kind)  # neither is installed here
    table = lambda columns, data: ("table", columns, data)  # noqa: E731
    image = lambda value, caption: ("image", value.dtype, caption)  # noqa: E731
    setattr(callback, name, SimpleNamespace(Table=table, Image=image, log=logged.append))
    report_samples(DRAWN, "eval", [callback])
    assert logged == [
        {
            "eval/samples_2": ("table", ["sample", "text"], [[0, "a\n\n# b"], [1, ""]]),
            "eval/samples_8": ("table", ["sample", "text"], [[0, "c"], [1, "d"]]),
            "eval/samples": ("image", np.uint8, "step 7: latents and tokens"),
            "train/global_step": 7,
        }
    ]


def test_others_are_told_once_that_they_get_the_scores_alone(caplog):
    callback = AzureMLCallback.__new__(AzureMLCallback)
    with caplog.at_level("WARNING"):
        for _ in range(2):
            report_samples(DRAWN, "eval", [callback])
    told = [record.message for record in caplog.records if "AzureMLCallback" in record.message]
    assert len(told) == 1 and "is sent the scores of samples, but not their texts and plots" in told[0]


def test_the_plot_has_error_bars_where_errors_are_known(monkeypatch):
    from matplotlib.axes import Axes

    drawn, errorbar = [], Axes.errorbar

    def watched(axes, *given, **options):
        drawn.append(errorbar(axes, *given, **options))
        return drawn[-1]

    monkeypatch.setattr(Axes, "errorbar", watched)
    scores = {2: {"nats": 2.0, "nats_stderr": 0.5}, 8: {"nats": 1.0}}
    plot(LoggedSamples(7, DRAWN.about, {"": scores}, {"": {2: [], 8: []}}))
    ((_, _, (bars,)),) = drawn
    first, second = bars.get_segments()
    assert first.tolist() == [[2.0, 1.5], [2.0, 2.5]] and not len(second)


def test_a_plot_needs_two_numbers_of_evaluations_and_matplotlib(monkeypatch, caplog):
    assert plot(LoggedSamples(7, "tokens alone", {"": {2: {"nats": 2.0}}}, {"": {2: []}})) is None
    assert plot(DRAWN).shape == (400, 600, 3)
    assert not np.array_equal(plot(DRAWN), plot(LoggedSamples(8, DRAWN.about, DRAWN.scores, DRAWN.texts)))
    found = importlib.import_module

    def absent(name):
        if name.startswith("matplotlib"):
            raise ImportError(name)
        return found(name)

    monkeypatch.setattr(importlib, "import_module", absent)
    with caplog.at_level("WARNING"):
        assert plot(DRAWN) is None
    assert "install `ladd_hf[plot]`" in caplog.text
