"""The comparison of two checkouts tells what differs, by however little, and says that nothing does where so."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

ROOT = Path(__file__).resolve().parents[3]
LOG = [{"loss": 2.5, "grad_norm": float("nan"), "step": 1}, {"train_runtime": 3.25, "train_loss": 2.5, "step": 1}]


@pytest.fixture(scope="module")
def compare():
    spec = importlib.util.spec_from_file_location("same_as_before", ROOT / "benchmarks" / "same_as_before.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.compare


@pytest.fixture
def results_in(tmp_path):
    """`results_in(name, log=..., weights=..., samples=...)`: the folder of a run with these results."""

    def write(name, log=LOG, weights=None, samples=None):
        folder = tmp_path / name / "mdlm" / "model"
        folder.mkdir(parents=True)
        results = {"log": {"ladd": log}, "bounds": {"ladd": {"eval_loss": 2.0, "eval_runtime": float(len(name))}}}
        (tmp_path / name / "results.json").write_text(json.dumps(results))
        save_file(weights or {"a": torch.ones(3), "b": torch.zeros(2)}, folder / "model.safetensors")
        save_file(samples or {"sequences": torch.arange(4)}, tmp_path / name / "samples.safetensors")
        return tmp_path / name

    return write


def test_two_equal_runs_are_the_same_whatever_time_they_took(compare, results_in):
    log = [LOG[0], {**LOG[1], "train_runtime": 4.0}]
    found = compare(results_in("old"), results_in("later", log=log), {})
    assert found["same"] and found["differences"] == {}
    assert found["compared"] == {"losses": 6, "weights": 2, "samples": 1}


def test_a_bit_is_a_difference(compare, results_in):
    old = results_in("old")
    one = torch.tensor([1.0, 1.0, torch.nextafter(torch.tensor(1.0), torch.tensor(2.0))])
    found = compare(old, results_in("new", weights={"a": one, "b": torch.zeros(2)}), {})
    assert not found["same"] and found["differences"] == {"weights": "a: 1 of 3 differ, by up to 1.19e-07"}
    found = compare(old, results_in("signs", weights={"a": torch.ones(3), "b": -torch.zeros(2)}), {})
    assert found["differences"] == {"weights": "b: 0 of 2 differ, by up to 0"}  # but in the sign of a zero
    found = compare(old, results_in("half", weights={"a": torch.ones(3).half(), "b": torch.zeros(2)}), {})
    assert "torch.float32 of shape (3,) became torch.float16" in found["differences"]["weights"]


def test_what_differs_first_is_told_of_each(compare, results_in):
    log = [{**LOG[0], "loss": 2.5000000000000004}, LOG[1]]
    weights, samples = {"b": torch.zeros(2), "c": torch.ones(3)}, {"sequences": torch.tensor([0, 1, 2, 9])}
    found = compare(results_in("old"), results_in("new", log, weights, samples), {})
    assert found["differences"] == {
        "losses": "loss of ladd, step 1: 2.5 became 2.5000000000000004",
        "weights": "a: only in OLD",
        "samples": "sequences: 1 of 4 differ, by up to 6",
    }


def test_a_log_with_another_name_is_missed_unless_that_is_told(compare, results_in):
    log = [{"total": 2.5, "grad_norm": float("nan"), "step": 1}, LOG[1]]
    old, new = results_in("old"), results_in("new", log=log)
    assert compare(old, new, {})["differences"] == {"losses": "loss of ladd, step 1: not there any more"}
    assert compare(old, new, {"loss": "total"})["same"]
