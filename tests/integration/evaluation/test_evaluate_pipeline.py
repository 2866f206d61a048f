"""Rows of an evaluation: the same however they are batched and in whatever session they are measured."""

from __future__ import annotations

import json
import random

import datasets
import pytest
import torch
from helpers.evaluations import numbers

from ladd_hf import LaddJointScheduler, LaddPipeline, LaddScheduler, LaddSequentialScheduler, RowGenerator
from ladd_hf.data import character_tokenizer, text_layout
from ladd_hf.evaluation import (
    EvaluationResults,
    EvaluationSettings,
    compared,
    evaluate,
    evaluate_models,
    evaluate_pipeline,
    markdown_report,
)
from ladd_hf.metrics import code_usage, latent_usefulness
from ladd_hf.tasks import TextTask

TOKENIZER = character_tokenizer()
_draw = random.Random(0)
TEXTS = ["".join(_draw.choices("abcde ", k=30 + number % 9)) for number in range(60)]
SETTINGS = {"budgets": (2, 3), "num_samples": 12, "batch_size": 12, "num_texts": 6, "bound_samples": 2}
IDS = {"vocab_size": len(TOKENIZER), "mask_token_id": TOKENIZER.mask_token_id, "pad_token_id": TOKENIZER.pad_token_id}


@pytest.fixture(autouse=True)
def caches(tmp_path, monkeypatch):
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")


def task_of(packing="pack", judges=("ngram", "entropy"), tokenizer=TOKENIZER, texts=TEXTS):
    parts = {"train": texts[:40], "validation": texts[40:]}
    splits = {name: datasets.Dataset.from_dict({"text": rows}) for name, rows in parts.items()}
    return TextTask("words", splits, tokenizer, 12, packing, min_tokens=4, judge_order=3, judges=list(judges))


@pytest.fixture
def pipeline_of(stirred_model):
    def build(kind, scheduler=None, **overrides):
        return LaddPipeline(stirred_model(kind, **IDS, **overrides), scheduler, TOKENIZER)

    return build


def measured(pipeline, task=None, path=None, name="model", tell=None, **changes):
    settings = EvaluationSettings(**{**SETTINGS, **changes})
    return evaluate_pipeline(pipeline, task or task_of(), settings, name, path, tell=tell)


KINDS = {
    "none": ({"bound", "marginal_bound"}, LaddJointScheduler),
    "vector": ({"bound", "marginal_bound"}, LaddSequentialScheduler),
    "continuous": ({"marginal_bound"}, LaddJointScheduler),  # whose plain bound depends on the smallest noise
    "separate": ({"marginal_bound"}, LaddSequentialScheduler),
}


@pytest.mark.parametrize("kind", KINDS)
def test_the_batch_size_changes_nothing(pipeline_of, kind):
    bounds, scheduler = KINDS[kind]
    rows = [measured(pipeline_of(kind, scheduler()), num_proposals=3, batch_size=size).rows for size in (12, 5)]
    for one, other in zip(*rows, strict=True):
        assert one.pop("schedule") == other.pop("schedule")
        assert one == pytest.approx(other, rel=1e-5)
        assert {"nats", "nats_stderr", "entropy", "nfe", "flops", "latent_flops", "token_flops"} < set(one)
        assert {name for name in one if name.endswith("bound")} == bounds
    if kind == "separate":
        assert rows[0][0]["latent_flops"] < rows[0][0]["token_flops"] / 2


def test_a_run_that_was_stopped_goes_on_and_measures_nothing_twice(pipeline_of, tmp_path):
    class Killed(Exception):
        pass

    def stop(line):
        raise Killed

    def go_on(line):
        told.append(line)

    told, path = [], tmp_path / "new" / "model.json"
    schedules = {"schedules": ("joint", "sequential")}
    with pytest.raises(Killed):
        measured(pipeline_of("vector"), path=path, tell=stop, **schedules)
    assert len(EvaluationResults.load(path).rows) == 1
    whole = measured(pipeline_of("vector"), **schedules)
    resumed = measured(pipeline_of("vector"), path=path, tell=go_on, **schedules)
    assert len(told) == len(whole.rows) - 1 == 3
    assert resumed.rows == whole.rows == json.loads(path.read_text())["rows"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"seed": 1}, "`seed`"),
        ({"num_samples": 11}, "`num_samples`"),
        ({"num_texts": 5}, "`num_texts`"),
        ({"task": {"judges": ("entropy",)}}, "`measures`"),
        ({"task": {"packing": "pad"}}, "`held_out.packing`"),
        ({"task": {"tokenizer": character_tokenizer("abcde fgh")}}, "`held_out.tokenizer`"),
        ({"task": {"texts": TEXTS[1:]}}, "`held_out.digest`"),
        ({"kind": "none"}, "`method`"),
        ({"scheduler": LaddJointScheduler(timestep_spacing="cosine")}, "`scheduler.timestep_spacing`"),
        ({"name": "other"}, "`name`"),
        ({"weights": 1.0}, "`fingerprint`"),
    ],
)
def test_a_file_of_another_evaluation_is_refused(pipeline_of, tmp_path, changes, message):
    path = tmp_path / "model.json"
    measured(pipeline_of("vector"), path=path, budgets=(2,))
    before = path.read_bytes()
    changes = {"budgets": (2,), **changes}
    other = pipeline_of(changes.pop("kind", "vector"), changes.pop("scheduler", None))
    with torch.no_grad():
        next(other.model.parameters()).add_(changes.pop("weights", 0.0))
    task = task_of(**changes.pop("task")) if "task" in changes else None
    with pytest.raises(ValueError, match=f"holds results with another {message}"):
        measured(other, task, path, **changes)
    assert path.read_bytes() == before


def test_models_with_other_numbers_of_latents_are_measured_on_the_same_padded_texts(pipeline_of, tmp_path, monkeypatch):
    layout = text_layout(task_of("pad").train_dataset(40, 0))
    for name, kind in (("mdlm", "none"), ("ladd", "vector")):
        pipeline_of(kind, **layout).save_pretrained(tmp_path / name)
    (tmp_path / "texts.txt").write_text("\n".join(f"{text}\n{text[:3]}" for text in TEXTS))
    settings = EvaluationSettings(**{**SETTINGS, "budgets": (2,)})
    one, other = evaluate_models(
        [tmp_path / "mdlm", tmp_path / "ladd"],
        str(tmp_path / "texts.txt"),
        settings,
        tmp_path / "out",
        sample_by="line",
    ).results
    assert one.task == other.task and one.task["held_out"]["min_tokens"] == 4


USEFULNESS = {"name": "latent_usefulness", "token_times": [0.5, 1]}


def test_measures_of_the_model_are_beside_the_rows_and_are_not_taken_twice(pipeline_of, tmp_path):
    path, told, pipeline = tmp_path / "model.json", [], pipeline_of("vector")
    options = {"budgets": (2,), "num_samples": 0, "num_sequences": 6}
    measured(pipeline, path=path, **options)
    found = measured(pipeline, path=path, measures=("code_usage", USEFULNESS), tell=told.append, **options)
    assert len(told) == 2 and told[0].startswith("code_usage: codes_perplexity ")
    batches = [torch.stack([torch.as_tensor(row["input_ids"]).long() for row in task_of().eval_dataset(6, 0)])]
    usage, (half, _) = code_usage(pipeline.model, batches), latent_usefulness(pipeline.model, batches, (0.5, 1.0))
    scores = found.measures["code_usage"]["scores"]
    assert scores["codes_used"] == usage.used and scores["codes_used_stderr"] == usage.used_stderr
    assert found.measures["latent_usefulness"]["scores"]["latents_gain_0.5"] == pytest.approx(half.gain.value, abs=1e-6)
    assert json.loads(path.read_text())["measures"] == found.measures == EvaluationResults.load(path).measures
    told.clear()
    again = measured(
        pipeline, path=path, measures=("code_usage", {**USEFULNESS, "seed": 1}), tell=told.append, **options
    )
    assert [line.split(":")[0] for line in told] == ["latent_usefulness"]
    assert again.measures["code_usage"] == found.measures["code_usage"]
    assert again.measures["latent_usefulness"]["scores"] != found.measures["latent_usefulness"]["scores"]


def test_a_model_that_lacks_what_is_measured_says_so(pipeline_of):
    told = []
    found = measured(
        pipeline_of("none"), measures=("code_usage",), budgets=(2,), num_samples=0, num_sequences=4, tell=told.append
    )
    assert found.measures["code_usage"]["lacking"] == "codes" and "scores" not in found.measures["code_usage"]
    assert told[0] == "code_usage is left out: the model has no codes."


@pytest.mark.parametrize("kind", ["vector", "continuous"])
def test_the_width_of_proposals_is_that_of_the_models_bound(pipeline_of, tmp_path, kind):
    pipeline, task, path = pipeline_of(kind), task_of(), tmp_path / "model.json"
    options = {"budgets": (3,), "num_samples": 0, "num_texts": 4, "num_proposals": 3}
    (row,) = measured(pipeline, task, path, proposal_width=0.25, **options).rows
    ids = torch.stack([torch.as_tensor(one["input_ids"]).long() for one in task.eval_dataset(4, 0)])
    run = {"run": pipeline.scheduler.run(3), "num_proposals": 3, "proposal_width": 0.25}
    bound = pipeline.model.nelbo(ids, generator=RowGenerator.from_content(0, ids), **run)
    assert row["marginal_bound"] == pytest.approx(bound.nats_per_token, rel=1e-6)
    assert "3 proposals of the width 0.25" in markdown_report(compared([EvaluationResults.load(path)]))
    with pytest.raises(ValueError, match=r"another `proposal_width` \(0.25, not null\)"):
        measured(pipeline, task, path, **options)


def test_the_data_stands_beside_samples_with_as_many_texts(pipeline_of):
    task = task_of(judges=("diversity",))
    found = measured(pipeline_of("none"), task, budgets=(2,), num_texts=0)
    assert found.task["reference"] == task.reference(12) != task.reference()
    assert set(found.task["reference_counts"].values()) == {12}
    report = markdown_report(compared([found]))
    assert "distinct_4, self_bleu, which depend on the number of texts, are of 12." in report


def test_bounds_do_not_depend_on_what_else_is_measured(pipeline_of):
    alone = measured(pipeline_of("vector"), budgets=(2,), num_samples=0)
    beside = measured(pipeline_of("vector"), budgets=(2,), schedules=("tuned", "saved"), num_samples=0, num_texts=6)
    assert beside.find(("saved", 1.0, 2)) == alone.find(("saved", 1.0, 2))


def test_padded_texts_of_several_lengths(pipeline_of):
    layout = text_layout(task_of("pad").train_dataset(40, 0))
    pipeline = pipeline_of("vector", **layout)
    rows = [measured(pipeline, task_of("pad"), num_proposals=2, batch_size=size).rows for size in (12, 5)]
    for one, other in zip(*rows, strict=True):
        assert {**one, "schedule": 0} == pytest.approx({**other, "schedule": 0}, rel=1e-5)
    assert rows[0][0]["bound"] > 0


@pytest.mark.parametrize(
    ("kind", "options", "reason"),
    [
        ("none", {"unmasking": "first_hitting"}, "where each step writes a single token"),
        ("none", {"remasking": {"name": "cap", "rate": 0.1}}, "not of the model's own law"),
        ("none", {"unmasking": "margin"}, "not of the model's own law"),
        ("none", {"temperature": 0.5}, "it draws at temperature 0.5, and"),
        ("vector", {"latent_temperature": 0.5}, "it draws at latent_temperature 0.5, and"),
        ("continuous", {}, "the marginalised one alone: give `num_proposals`"),
    ],
)
def test_runs_without_a_bound_have_none_and_say_why(pipeline_of, kind, options, reason):
    told = []
    rows = measured(
        pipeline_of(kind, LaddScheduler(**options)), budgets=(4, 11), num_proposals=0, tell=told.append
    ).rows  # of 12 tokens
    assert not any("bound" in name for name in rows[0]) and "nats" in rows[0]
    assert len([line for line in told if line.startswith("  without a bound: ") and reason in line]) == 2


def test_the_time_left_is_told_with_each_row_and_ends_at_nothing(pipeline_of):
    told = []
    measured(pipeline_of("none"), budgets=(2, 4), num_samples=4, tell=told.append)
    assert len(told) == 2 and all(line.endswith(" s left for model)") for line in told)
    assert told[1].endswith("(0 s left for model)")


@pytest.mark.parametrize("kind", ["none", "vector"])
def test_tokens_that_are_written_one_at_a_time_have_the_bound_of_continuous_time(pipeline_of, kind):
    scheduler, num_steps = LaddSequentialScheduler(unmasking="first_hitting"), 12 if kind == "none" else 24
    pipeline, task = pipeline_of(kind, scheduler), task_of()
    (row,) = measured(pipeline, task, budgets=(num_steps,), num_samples=0, num_proposals=2).rows
    ids = torch.stack([torch.as_tensor(one["input_ids"]).long() for one in task.eval_dataset(6, 0)])
    options = {"num_samples": 2, "generator": RowGenerator.from_content(0, ids)}
    nats = pipeline.model.nelbo(ids, path="tokens", **options).token_nats
    if kind == "vector":
        options["generator"] = RowGenerator.from_content(0, ids)
        nats = nats + pipeline.model.nelbo(ids, run=pipeline.scheduler.run(num_steps), **options).latent_nats
    assert row["bound"] == pytest.approx(float(nats.sum()) / ids.numel(), rel=1e-6) and "marginal_bound" not in row


def test_samples_have_the_temperature_and_bounds_are_those_of_one(pipeline_of):
    rows = measured(pipeline_of("none"), budgets=(3,), temperatures=(0.3, 1.0)).rows
    assert [row["temperature"] for row in rows] == [0.3, 1.0]
    assert rows[0]["nats"] != rows[1]["nats"]
    assert "bound" not in rows[0] and "bound" in rows[1]
    assert rows[1] == measured(pipeline_of("none"), budgets=(3,)).rows[0]


def test_a_tuned_schedule_is_tuned_on_other_texts_than_the_bounds(pipeline_of, monkeypatch):
    seen = []

    def tune(model, texts, *args, **options):
        seen.extend(tuple(row["input_ids"].tolist()) for row in texts)
        return real(model, texts, *args, **options)

    real = evaluate.tune_schedule
    monkeypatch.setattr(evaluate, "tune_schedule", tune)
    task = task_of()
    found = measured(pipeline_of("vector"), task, schedules=("tuned",), budgets=(1, 2), num_samples=0)
    assert [row["num_steps"] for row in found.rows] == [1, 2]
    of_bounds = {tuple(row["input_ids"].tolist()) for row in task.eval_dataset(6, 0)}
    assert len(of_bounds) == 6 and len(seen) > 20 and not of_bounds & set(seen)


def test_corners_are_a_schedule_and_the_pipelines_own_is_put_back(pipeline_of):
    pipeline = pipeline_of("vector", LaddJointScheduler(timestep_spacing="cosine"))
    own = pipeline.scheduler
    corners = [[1, 1], [1, 0.5], [0, 0]]
    found = measured(pipeline, schedules=("saved", "joint", corners), num_samples=0, num_texts=4)
    assert pipeline.scheduler is own
    assert found.find(("joint", 1.0, 3)) == {**found.find(("saved", 1.0, 3)), "schedule": "joint"}  # spacing is kept
    assert found.find(("1-1_1-0.5_0-0", 1.0, 3))["bound"] != found.find(("joint", 1.0, 3))["bound"]


def test_all_rows_are_timed_when_any_are(pipeline_of, tmp_path):
    path, more = tmp_path / "model.json", {"num_samples": 2, "num_texts": 0}
    before = measured(pipeline_of("none"), path=path, budgets=(2,), **more)
    assert not before.is_timed
    timed = measured(pipeline_of("none"), path=path, budgets=(3,), timing_rounds=2, **more)
    assert [set(row) >= {"seconds", "seconds_stderr"} for row in timed.rows] == [True, True]
    assert numbers(timed.rows)[0] == before.rows[0]
    again = measured(pipeline_of("none"), path=path, budgets=(4,), batch_size=3, **more)
    assert [row.get("seconds") for row in again.rows] == [*(row["seconds"] for row in timed.rows), None]
    assert again.settings["timing_rounds"] == 2 and again.settings["batch_size"] == 12


def test_schedules_with_waiting_have_the_marginalised_bound_alone(pipeline_of):
    late = {"path": "joint", "token_waiting": "until_known"}
    pipeline = pipeline_of("vector", latent_unpooling="chunk")
    rows = measured(pipeline, schedules=("joint", late), budgets=(3,), num_proposals=3).rows
    assert [row["schedule"] for row in rows] == ["joint", "joint, token_waiting until_known"]
    bounds = [{name: value for name, value in row.items() if name.endswith("bound")} for row in rows]
    assert bounds[0].keys() == {"bound", "marginal_bound"} and bounds[1].keys() == {"marginal_bound"}
    assert bounds[0]["marginal_bound"] != bounds[1]["marginal_bound"] and rows[0]["nats"] != rows[1]["nats"]
    assert pipeline.scheduler.config.token_waiting == "none"
