"""Benchmarks that start the example, made tiny, run, and write what they print."""

from __future__ import annotations

import json
import re
import shlex

import torch
from helpers.benchmark_runs import run_benchmark
from huggingface_hub import ModelCard

from ladd_hf import LaddPipeline


def test_text_ablations_tell_what_the_latents_give_away(tmp_path):
    texts = tmp_path / "texts"
    texts.mkdir()
    for split in ("train", "validation"):
        (texts / f"{split}.txt").write_text(f"the {split} cat sat on the mat and the dog ran " * 30)
    tiny = f"--data {texts} --hidden_size 32 --num_hidden_layers 1 --length 16 --latent_length 4 --codebook_size 20"
    tiny += " --max_steps 2 --warmup_steps 1 --logging_steps 1"
    tiny += " --per_device_train_batch_size 4 --cpu_threads 3"
    flags = ["--parallel", "2", "--rows", "recipe", "no unpooling", "--json", tmp_path / "x.json"]
    process = run_benchmark("text_ablations", "latents", *tiny.split(), *flags)
    assert process.returncode == 0, process.stderr[-3000:]
    rows = json.loads((tmp_path / "x.json").read_text())
    assert set(rows) == {"recipe", "no unpooling"}
    assert all([entry["step"] for entry in row["log"]] == [1, 2] for row in rows.values())
    assert all(0 <= row["log"][-1]["decoded_true"] <= 1 for row in rows.values())
    assert all(row["facts"]["hardware"].endswith(" 3 threads") and "threads" not in row for row in rows.values())
    table = process.stdout.splitlines()
    assert {line.split(" | ")[0] for line in table[2:]} == {"| recipe", "| no unpooling"}


def test_the_tables_of_quality_are_of_every_recipe_seed_and_axis(tmp_path):
    tiny = "--max_steps 3 --warmup_steps 1 --per_device_train_batch_size 8 --num_eval_sequences 10 --length 8"
    options = (
        "--data sawtooth --recipes sawtooth-mdlm sawtooth-128-mdlm --seeds 3 --budgets 2 --num_texts 4 --name tiny"
    )
    options += " --baseline 'sawtooth-128-mdlm saved' --schedules saved '{path: saved, temperature: 0.5}'"
    options += f" --num_samples 20 --num_proposals 2 --timing_rounds 2 --threads 1 --results {tmp_path} {tiny}"
    process = run_benchmark("quality_tables", tmp_path / "runs", *shlex.split(options))
    assert process.returncode == 0, process.stderr[-3000:]
    found = json.loads((tmp_path / "tiny_quality.json").read_text())
    names = ["sawtooth-mdlm", "sawtooth-128-mdlm"]
    assert set(found["training"]) == {f"{name}-3" for name in names}
    assert [one["model"]["name"] for one in found["models"]] == names
    for one in found["models"]:
        runs = [(row["schedule"], row["num_steps"]) for row in one["rows"]]
        assert runs == [("saved", 2), ("saved, temperature 0.5", 2)]
        assert one["settings"]["seed"] == 3
        assert all(row["nats_stderr"] > 0 and row["flops"] > 0 and row["seconds"] > 0 for row in one["rows"])
    report = (tmp_path / "tiny_quality.md").read_text()
    assert found["baseline"] == "sawtooth-128-mdlm saved" and "| sawtooth-128-mdlm saved there |" in report
    assert found["command"].startswith("python benchmarks/quality_tables.py ") and str(tmp_path) not in found["command"]
    assert all(one["change_stderr"] > 0 for one in found["equal_cost"] if one["baseline"] is not None)
    assert report in process.stdout and "At equal seconds" in report and "At equal floating-point" in report
    assert (tmp_path / "tiny_quality.png").stat().st_size > 10_000


def test_the_table_of_text_trains_each_run_once(tmp_path):
    texts = tmp_path / "texts"
    texts.mkdir()
    for split in ("train", "validation"):
        (texts / f"{split}.txt").write_text(f"the {split} cat sat on the mat and the dog ran " * 30)
    tiny = f"--data {texts} --hidden_size 32 --num_hidden_layers 1 --length 16 --max_steps 2 --warmup_steps 1"
    tiny += " --per_device_train_batch_size 4 --num_samples 4 --budgets 2 4 --num_eval_sequences 4 --judge_order 2"
    flags = ["--recipes", "python-docs-mdlm", "--threads", "1", "--seeds", "7", "8", "--json", tmp_path / "x.json"]
    first, again = (run_benchmark("text_table", tmp_path / "runs", *flags, *tiny.split()) for _ in range(2))
    assert first.returncode == 0, first.stderr[-3000:]
    assert first.stdout == again.stdout and "| MDLM, `python-docs-mdlm` | 2 |" in first.stdout
    assert "python-docs-mdlm-8 ..." in first.stderr and "python-docs-mdlm-8 ..." not in again.stderr
    found = json.loads((tmp_path / "x.json").read_text())
    score = found["table"]["python-docs-mdlm"]["MDLM"]["4"]["nats"]
    assert set(score["by_seed"]) == {"7", "8"} and score["stderr"] > 0
    assert all(run["facts"]["hardware"].endswith(" 1 threads") for run in found["runs"].values())


def test_included_pipelines_are_made_by_one_command_and_their_cards_by_another(tmp_path):
    target = tmp_path / "included"
    tiny = "--hidden_size 32 --num_hidden_layers 1 --max_steps 4 --warmup_steps 1 --per_device_train_batch_size 4"
    tiny += " --num_samples 4 --num_eval_sequences 4 --nelbo_proposals 2 --judge_order 2 --judge_characters 10000"
    flags = ["--folder", tmp_path / "runs", "--target", target, "--threads", "1", "--budgets", "2"]
    made = run_benchmark("make_included_pipelines", *flags, *tiny.split())
    assert made.returncode == 0, made.stderr[-3000:]
    cards = {}
    for name, temperature in (("python-docs-di", 0.6), ("python-docs-mdlm", 0.8)):
        pipe = LaddPipeline.from_pretrained(target / name)
        assert pipe.model.dtype == torch.bfloat16 and pipe.scheduler.config.temperature == temperature
        assert re.fullmatch("[a-z ]{64}", pipe(num_steps=2).texts[0])
        (row,) = json.loads((target / f"included-{name}.json").read_text())["rows"]
        cards[name] = (target / name / "README.md").read_text()
        results = ModelCard(cards[name]).data.eval_results
        assert [one.metric_value for one in results] == [row["nats"], row["entropy"]]
        assert {one.metric_args["temperature"] for one in results} == {temperature}
        assert f"| nats per character | {row['nats']:.2f} ± " in cards[name] and f"\nladd train {name}" in cards[name]
        (target / name / "README.md").write_text(cards[name].replace(f"| {row['nats']:.2f} ± ", "| 0.00 ± "))
    again = run_benchmark("make_included_pipelines", "--cards", "--target", target)
    assert again.returncode == 0, again.stderr[-3000:]
    assert {name: (target / name / "README.md").read_text() for name in cards} == cards
