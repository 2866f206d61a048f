"""The page on schedules shows calls that work, and names the arguments that there are."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

import torch

from ladd_hf import LaddPipeline, LaddTunedScheduler, tune_schedule

PAGE = (Path(__file__).resolve().parents[3] / "docs" / "schedules.md").read_text()


def test_its_calls_run(stirred_model, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    pipe = LaddPipeline(stirred_model("discrete"))
    pipe.set_progress_bar_config(disable=True)
    ids = 1 + torch.arange(32 * 12).view(32, 12) % 9
    names = {"pipe": pipe, "held_out": ids[:24], "texts": ids[24:]}
    (block,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    exec(block, names)
    assert names["written"].nfe == 4 and len(names["run"]) == 5
    assert type(names["pipe"].scheduler) is LaddTunedScheduler
    assert names["foreseen"].nats_per_token > 0 and names["measured"].nats_per_token > 0


def test_its_table_names_arguments():
    rows = re.findall(r"^\| (`.*?`) \|", PAGE, re.MULTILINE)[1:]
    named = {name for row in rows for name in re.findall(r"`(\w+)", row)} - {"argument"}
    assert named and named <= set(inspect.signature(tune_schedule).parameters)
