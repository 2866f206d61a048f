"""Two processes evaluate as one does, and go on where one has begun. Run by torchrun, this file is the evaluation."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pytest
import torch
from accelerate import Accelerator

from ladd_hf import EvaluationSettings, LaddPipeline, LaddSequentialScheduler, evaluate_pipeline
from ladd_hf.tasks import SawtoothTask

# with numbers of samples and texts that two processes cannot share evenly
SETTINGS = {"num_samples": 7, "num_texts": 5, "bound_samples": 2, "num_proposals": 3, "schedules": ("saved", "tuned")}
SETTINGS |= {"measures": ("code_usage", "latent_usefulness"), "num_sequences": 15}


def evaluated(folder: Path, name: str, **changes: object) -> list[dict]:
    torch.set_num_threads(1)  # which the file's circumstances say
    pipeline = LaddPipeline.from_pretrained(folder / "model")
    options = {"budgets": (2, 4), "temperatures": (1.0, 0.5), "batch_size": 2, "timing_rounds": 1, **SETTINGS}
    settings = EvaluationSettings(**{**options, **changes})
    path, accelerator = folder / f"{name}.json", Accelerator(cpu=True)
    return evaluate_pipeline(pipeline, SawtoothTask(12), settings, "toy", path, accelerator).rows


def launch(folder: Path) -> None:
    from helpers.two_processes import run_twice  # not there for the script

    run_twice(__file__, folder)


def counted(rows: list[dict]) -> list[dict]:
    """Rows without their seconds."""
    return [{name: value for name, value in row.items() if "seconds" not in name} for row in rows]


def close(row: dict) -> dict:
    return {name: value if name == "schedule" else pytest.approx(value, rel=1e-5) for name, value in row.items()}


def test_two_processes_return_and_write_the_rows_of_one(stirred_model, tmp_path):
    model = stirred_model("vector", vocab_size=3, mask_token_id=2, pad_token_id=None)
    LaddPipeline(model, LaddSequentialScheduler()).save_pretrained(tmp_path / "model")
    one = evaluated(tmp_path, "one", batch_size=9)
    begun = evaluated(tmp_path, "begun", budgets=(2,), temperatures=(1.0,))
    launch(tmp_path)
    two, resumed = json.loads((tmp_path / "of 0.json").read_text())
    other, other_resumed = json.loads((tmp_path / "of 1.json").read_text())
    assert two == other and resumed == other_resumed  # seconds and all
    assert counted(two) == list(map(close, counted(one)))
    assert counted(resumed)[:2] == counted(begun)  # not measured again
    by_key = {(row["schedule"], row["temperature"], row["num_steps"]): row for row in counted(resumed)}
    assert len(by_key) == len(one) == 8
    assert all(by_key[row["schedule"], row["temperature"], row["num_steps"]] == close(row) for row in counted(one))
    assert json.loads((tmp_path / "two.json").read_text())["rows"] == two
    measures = [json.loads((tmp_path / f"{name}.json").read_text())["measures"] for name in ("one", "two", "begun")]
    assert set(measures[0]) == {"code_usage", "latent_usefulness"}
    for other in measures[1:]:
        assert {name: entry["scores"] for name, entry in other.items()} == {
            name: pytest.approx(entry["scores"], rel=1e-4, abs=1e-6) for name, entry in measures[0].items()
        }
    assert all({"seconds", "nats", "flops"} < set(row) for row in two)
    assert all(({"bound", "marginal_bound"} < set(row)) == (row["temperature"] == 1) for row in two)


if __name__ == "__main__":
    found = [evaluated(Path(sys.argv[1]), run_name) for run_name in ("two", "begun")]
    (Path(sys.argv[1]) / f"of {os.environ['RANK']}.json").write_text(json.dumps(found))
