"""`ladd train`, `evaluate`, `tune`, `finetune`, `distill`, `write` and `convert`: the jobs get what was given."""

from __future__ import annotations

import json
import os
import re
from importlib import import_module

import pytest
import torch
from helpers.example_runs import TINY

from ladd_command.runs import OWN_TEXTS, RUNS, with_recipe
from ladd_hf import LaddForDiffusionLM, LaddPipeline, LaddTunedScheduler
from ladd_hf.cli.recipe_files import read_recipe, recipe_path

FEW = ("--max_steps", 3, "--warmup_steps", 1, "--per_device_train_batch_size", 4, "--use_cpu")


@pytest.mark.parametrize("name", RUNS)
def test_flags_and_their_order_reach_the_job(ladd, monkeypatch, name):
    passed = []
    monkeypatch.setattr(import_module(f"ladd_hf.cli.{RUNS[name].module}"), "main", passed.append)
    flags = ["some/model", "--stages", '{"prior": {"steps": 3}}', "--budgets", "2", "4", "-x", "--seed=1"]
    own = ("--processes", 1) if RUNS[name].launched else ()
    assert ladd(name, *flags[:4], *own, *flags[4:]).code == 0
    assert passed == [flags]


@pytest.mark.parametrize("name", RUNS)
def test_help_is_that_of_the_job_under_the_commands_name(ladd, name):
    said = ladd(name, "--help")
    assert said.code == 0 and said.out.startswith(f"usage: ladd {name} ")


@pytest.mark.parametrize("name", [name for name in RUNS if name != "train"])
@pytest.mark.parametrize("flags", [(), ("--seed", 1)])
def test_the_model_comes_first(ladd, name, flags):
    refusal = ladd(name, *flags).refusal
    assert refusal.startswith(f"ladd {name}: error: ") and f"is missing: ladd {name} {RUNS[name].usage}" in refusal


@pytest.mark.parametrize("name", [name for name in RUNS if name != "train"])
def test_an_abbreviated_flag_is_refused_by_the_job_as_well(ladd, name, tmp_path):
    more = {"convert": [tmp_path / "out"], "write": [], "finetune": []}.get(name, ["--data", "sawtooth"])
    flag = {"convert": "--latent_lengt", "write": "--num_sample", "finetune": "--ran"}.get(name, "--text_colum")
    refusal = ladd(name, "nowhere", *more, flag, 3).refusal
    assert f"ladd {name}: error: {flag} 3 is not understood; did you mean " in refusal


@pytest.mark.parametrize(
    ("given", "recipe"),
    [
        ("--data my.txt --seed 1", OWN_TEXTS),
        ("--seed 1 --data=my.txt", OWN_TEXTS),
        ("--data sawtooth", None),
        ("--seed 1", None),
        ("python-docs-di --data my.txt", None),
        ("--data my.txt --config python-docs-di", None),
        ("--config=python-docs-di --data my.txt", None),
        ("", None),
    ],
)
def test_texts_without_a_recipe_have_one_of_their_own(given, recipe):
    assert with_recipe(given.split()) == [*([recipe] if recipe else []), *given.split()]
    assert read_recipe(recipe_path(OWN_TEXTS))["recommended"] is True


# --- train ---


def test_a_file_of_texts_is_enough_to_train_on(ladd, prose, tmp_path):
    few = [*TINY, "--hidden_size", "32", "--num_hidden_layers", "1", "--length", "16", "--use_cpu"]
    said = ladd("train", "--data", prose, *few, "--output_dir", tmp_path / "out")
    assert said.code == 0, said.err
    assert "my.txt, length 16: " in said.out and " sequences to train on, " in said.out and " held out." in said.out
    assert "Recommended: Di-LADD with 8 latents, one for every 2 tokens" in said.out
    assert "stages, in steps: mdlm 1, encoder 1, prior 2." in said.out
    assert f"ladd generate {tmp_path}/out/di-ladd" in said.out
    results = json.loads((tmp_path / "out" / "results.json").read_text())
    assert results["command"].startswith("ladd train --data my.txt --max_steps 4")
    assert [stage["name"] for stage in results["stages"]["ladd"]] == ["mdlm", "encoder", "prior"]
    pipe = LaddPipeline.from_pretrained(tmp_path / "out" / "di-ladd")
    config = pipe.model.config
    assert (config.latent_length, config.latent_pooling, config.latent_unpooling) == (8, "chunk", "chunk")
    assert pipe.tokenizer is not None
    counted = int(re.search(r"(\d+) held out", said.out)[1])
    assert f"{min(counted, 10)} held-out sequences" in (tmp_path / "out" / "di-ladd" / "README.md").read_text()
    assert f"In {tmp_path}/out are results.json, results.png, the pipeline di-ladd" in said.out
    again = ladd("train", "--data", prose, *few, "--output_dir", tmp_path / "out").refusal
    assert "already holds the results of a run" in again


def test_what_a_flag_says_is_kept_among_recommended_settings(ladd, prose, tmp_path):
    few = [*TINY, "--hidden_size", "32", "--num_hidden_layers", "1", "--length", "16", "--use_cpu", "--packing", "pad"]
    kind = [
        "--latent_type",
        "continuous",
        "--latent_dim",
        "3",
        "--stages",
        '[{"name": "encoder", "steps": 0.25}, "prior"]',
        "--sample_by",
        "line",
    ]
    said = ladd("train", "--data", prose, *few, *kind, "--output_dir", tmp_path / "out")
    assert said.code == 0, said.err
    assert (
        "Recommended: Co-LADD with 8 latents" in said.out
        and "anchors; stages, in steps: encoder 1, prior 3." in said.out
    )
    model = LaddForDiffusionLM.from_pretrained(tmp_path / "out" / "co-ladd" / "model")
    assert model.config.latent_dim == 3 and model.config.latent_prediction_type["name"] == "anchors"


def test_the_recipe_of_own_texts_asks_for_them(ladd, tmp_path):
    refusal = ladd("train", OWN_TEXTS, "--output_dir", tmp_path / "out").refusal
    assert "The recipe is for texts of your own, and none are given" in refusal and "--data" in refusal


def test_a_recipe_that_is_not_included_is_named_with_one_that_is(ladd, tmp_path):
    refusal = ladd("train", "sawtoth-di", "--output_dir", tmp_path / "out").refusal
    assert "sawtoth-di is not a file, nor the name of an included recipe; did you mean sawtooth-di?" in refusal


def test_texts_that_are_not_there_are_told_before_an_output_folder_that_is(ladd, tmp_path):
    (tmp_path / "results.json").write_text("{}")
    words = ("train", "--output_dir", tmp_path, "--use_cpu")
    assert "There is no file or folder 'no/such/file.txt'" in ladd(*words, "--data", "no/such/file.txt").refusal
    assert "There is no corpus, file or folder 'nothing'" in ladd(*words, "--data", "nothing").refusal
    assert "already holds the results of a run" in ladd(*words).refusal


@pytest.mark.parametrize("name", RUNS)
def test_help_tells_of_processes_where_there_may_be_several(ladd, name):
    assert ("With --processes N" in ladd(name, "--help").out) == RUNS[name].launched


@pytest.mark.parametrize("name", RUNS)
def test_help_begins_with_how_it_is_called_and_no_flag_with_its_opposite(ladd, name):
    lines = ladd(name, "--help").lines
    assert lines[0].endswith("[--FLAG VALUE ...]") and not lines[1]
    help_of = {line.split(",")[0].strip(): place for place, line in enumerate(lines) if line.startswith("  --")}
    for flag in (flag for flag in help_of if flag.startswith("--no_") and f"--{flag[5:]}" in help_of):
        assert f"The opposite of --{flag[5:]}." in " ".join(lines[help_of[flag] : help_of[flag] + 4])


@pytest.mark.parametrize(
    ("words", "variables", "threads"),
    [
        ([], {"OMP_NUM_THREADS": "1"}, "kept"),
        (["--cpu_threads", 3], {"OMP_NUM_THREADS": "1"}, 3),
        ([], {"OMP_NUM_THREADS": "1", "ACCELERATE_MIXED_PRECISION": "no"}, "cores"),
        ([], {}, "cores"),
    ],
)
def test_threads_are_those_asked_for_or_the_cores(ladd, monkeypatch, tmp_path, words, variables, threads):
    found, before = [], torch.get_num_threads()
    for name in ("OMP_NUM_THREADS", "ACCELERATE_MIXED_PRECISION", "TORCHELASTIC_RUN_ID"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(torch, "set_num_threads", found.append)
    (tmp_path / "results.json").write_text("{}")  # which ends it after that
    ladd("train", "--output_dir", tmp_path, "--use_cpu", *words)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    assert found == [{"kept": before, "cores": cores}.get(threads, threads)]


# --- tune ---


def test_a_tuned_schedule_is_saved_with_the_model_it_is_for(ladd, models, texts, tmp_path):
    words = ("tune", models / "discrete", "--data", texts, "--budgets", 2, 4, "--num_texts", 6, "--cpu")
    told = ladd(*words, "--output", tmp_path / "told")
    assert [line.split()[0] for line in told.lines[:3]] == ["evaluations", "2", "4"]
    assert f"is in {tmp_path}/told" in told.lines[-1]
    document = ladd(*words, "--output", tmp_path / "found", "--json").document
    pipe = LaddPipeline.from_pretrained(tmp_path / "found")
    assert isinstance(pipe.scheduler, LaddTunedScheduler)
    for row in document["budgets"]:
        foreseen = pipe.scheduler.bound(row["evaluations"])
        assert row["nats_per_token"] == pytest.approx(foreseen.nats_per_token)
        assert row["run"] == [list(point) for point in pipe.scheduler.run(row["evaluations"])]
    weights = LaddPipeline.from_pretrained(models / "discrete").model.state_dict()
    assert all(torch.equal(weights[name], value) for name, value in pipe.model.state_dict().items())
    again = ladd(*words, "--output", tmp_path / "found").refusal
    assert "holds a pipeline already: name another folder." in again


def test_the_card_and_the_cost_of_the_weights_go_along(ladd, models, texts, tmp_path):
    pipe = LaddPipeline.from_pretrained(models / "none")
    pipe.save_pretrained(tmp_path / "mine")
    (tmp_path / "mine" / "README.md").write_text("A card.")
    words = ("tune", tmp_path / "mine", "--data", texts, "--budgets", 2, "--num_texts", 2, "--cpu")
    assert ladd(*words, "--output", tmp_path / "tuned").code == 0
    assert (tmp_path / "tuned" / "README.md").read_text() == "A card."
    assert not (tmp_path / "tuned" / "training_cost.json").exists()


# --- distill ---


def test_a_distilled_model_jumps_and_keeps_its_encoder(ladd, models, texts, tmp_path):
    words = ("distill", models / "continuous", "--data", texts, *FEW, "--logging_steps", 1)
    said = ladd(*words, "--output_dir", tmp_path / "out")
    assert said.code == 0, said.err
    assert [line.split()[1] for line in said.lines[:3]] == ["1/3", "2/3", "3/3"] and "meanflow_loss" in said.lines[0]
    before = LaddPipeline.from_pretrained(models / "continuous")
    after = LaddPipeline.from_pretrained(tmp_path / "out" / "pipeline")
    card = (tmp_path / "out" / "pipeline" / "README.md").read_text()
    assert "trained on abc.txt, length 12, beginning with the weights of continuous," in " ".join(card.split())
    assert after.model.config.latent_flow_map and not before.model.config.latent_flow_map
    assert after.scheduler.config.latent_share == before.scheduler.config.latent_share == 0.25
    new = after.model.state_dict()
    same = {name.split(".")[0] for name, value in before.model.state_dict().items() if torch.equal(value, new[name])}
    moved = {
        name.split(".")[0] for name, value in before.model.state_dict().items() if not torch.equal(value, new[name])
    }
    assert "encoder" in same - moved and moved
    assert "already holds a distilled pipeline" in ladd(*words, "--output_dir", tmp_path / "out").refusal


def test_a_rounded_pipeline_is_distilled_in_full_precision(ladd, models, texts, tmp_path):
    pipe = LaddPipeline.from_pretrained(models / "continuous")
    pipe.model.bfloat16()
    pipe.save_pretrained(tmp_path / "half")
    said = ladd("distill", tmp_path / "half", "--data", texts, *FEW, "--output_dir", tmp_path / "out")
    assert said.code == 0, said.err
    after = LaddPipeline.from_pretrained(tmp_path / "out" / "pipeline").model
    assert {weight.dtype for weight in after.parameters()} == {torch.float32}


def test_a_distillation_leaves_its_bounds_and_a_later_one_moves_them_aside(ladd, models, texts, tmp_path):
    words = ("distill", models / "continuous", "--data", texts, *FEW, "--num_eval_sequences", 2)
    said = ladd(*words, "--output_dir", tmp_path / "out")
    results = json.loads((tmp_path / "out" / "results.json").read_text())
    before, after = (results["bounds"][when]["eval_loss"] for when in ("before", "after"))
    assert f": {before:.4f} before, {after:.4f} after" in said.out and before != after
    assert results["command"].startswith("ladd distill continuous") and results["saved"] == {"pipeline": "pipeline"}
    assert results["facts"]["steps"] == "3, 3 in the stage 'meanflow'"
    assert [stage["name"] for stage in results["stages"]] == ["meanflow"]
    assert ladd(*words, "--output_dir", tmp_path / "out", "--start_anew").code == 0
    moved = json.loads((tmp_path / "out" / "_previous-1" / "results.json").read_text())
    again = json.loads((tmp_path / "out" / "results.json").read_text())
    assert moved == results and again["command"].endswith("--start_anew")


@pytest.mark.parametrize("job", [("finetune", "--train_file"), ("distill", "--data")])
def test_results_of_another_run_are_not_written_over(ladd, models, texts, tmp_path, job):
    (tmp_path / "results.json").write_text("{}")
    words = (job[0], models / "continuous", job[1], texts, *FEW, "--output_dir", tmp_path)
    assert f"{tmp_path} already holds the results of a run: give another --output_dir" in ladd(*words).refusal
    assert (tmp_path / "results.json").read_text() == "{}"


# --- write ---


def test_many_samples_are_told_of_in_a_document(ladd, models, tmp_path):
    words = ("write", models / "discrete", "--num_samples", 3, "--num_steps", 2, "--seed", 5, "--cpu")
    told = ladd(*words, "--output", tmp_path / "told.jsonl")
    assert told.lines == [f"3 samples in {tmp_path}/told.jsonl"]
    document = ladd(*words, "--output", tmp_path / "x.jsonl", "--json").document
    assert document["output"] == f"{tmp_path}/x.jsonl" and document["model"] == str(models / "discrete")
    samples = [json.loads(line) for line in (tmp_path / "x.jsonl").open()]
    assert document["samples"] == len(samples) == 3 and document["seed"] == 5
    assert {sample["nfe"] for sample in samples} == {document["num_steps"]} == {2}
    refused = ladd(*words, "--output", tmp_path / "y.jsonl", "--json", "--watch").refusal
    assert "give one of the two" in refused and not (tmp_path / "y.jsonl").exists()


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("none", "is an MDLM, which has no latents to distil: give a Co-LADD."),
        ("discrete", "has codes, which are drawn and do not flow: give a Co-LADD, or tune the schedule"),
        ("anchors", "draws its latents from anchors, and does not flow to them: give a Co-LADD with another"),
    ],
)
def test_latents_that_do_not_flow_are_not_distilled(ladd, models, texts, tmp_path, kind, said):
    words = ("distill", models / kind, "--data", texts, *FEW, "--output_dir", tmp_path / "out")
    assert said in ladd(*words).refusal


# --- evaluate, finetune ---


@pytest.mark.parametrize("printed", [("--json",), ("--json", "-")])
def test_results_of_an_evaluation_may_be_all_that_is_printed(ladd, models, texts, tmp_path, printed):
    few = ("--budgets", 2, "--num_samples", 4, "--num_sequences", 2, "--cpu", "--results", tmp_path / "results")
    document = ladd("evaluate", models / "discrete", "--data", texts, *few, *printed).document
    assert document["models"][0]["rows"][0]["nfe"] == 2
    assert document["command"].startswith("ladd evaluate discrete --data abc.txt --budgets 2")
    assert (tmp_path / "results" / "table.md").is_file() and not os.path.exists("-")


def test_a_model_is_fine_tuned_by_its_name_alone(ladd, models, tmp_path):
    (tmp_path / "lines.txt").write_text("abcdefgh\nbcdefghi\n" * 10)
    words = (models / "discrete", "--train_file", tmp_path / "lines.txt", "--eval_sequences", 4, *FEW)
    said = ladd("finetune", *words, "--full", "--output_dir", tmp_path / "out")
    assert said.code == 0, said.err
    assert f"pipeline in {tmp_path}/out/pipeline" in said.out
    results = json.loads((tmp_path / "out" / "results.json").read_text())
    before, after = (results["bounds"][when]["eval_loss"] for when in ("before", "after"))
    assert f"nats per token along joint: {before:.4f} before, {after:.4f} after" in said.out and before != after
    assert results["bounds"]["before"].keys() == results["bounds"]["after"].keys(), "all metrics of both"
    assert results["command"].startswith("ladd finetune discrete") and results["facts"]["steps"] == "3"
    assert results["saved"] == {"pipeline": "pipeline"} and [row["step"] for row in results["log"]][-1] == 3
    card = (tmp_path / "out" / "pipeline" / "README.md").read_text()
    assert "\nladd finetune discrete --train\\_file lines.txt" in card.replace("--train_file", "--train\\_file")
