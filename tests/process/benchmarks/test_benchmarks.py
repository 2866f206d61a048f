"""Every benchmark runs, made tiny, and writes what it prints."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import torch

from ladd_hf import LaddConfig, LaddForDiffusionLM, LaddJointScheduler, LaddPipeline, LaddSequentialScheduler
from ladd_hf.data import character_tokenizer

ROOT = Path(__file__).resolve().parents[3]


def test_sampling_overhead_prints_a_ratio_for_each_schedule(tmp_path):
    sizes = "--vocabularies 8 --hidden_size 16 --layers 1 --length 16 --batch_size 2 --num_steps 2 --rounds 1"
    command = [sys.executable, "benchmarks/sampling_overhead.py", *sizes.split(), "--json", str(tmp_path / "out.json")]
    process = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert process.returncode == 0, process.stderr[-3000:]
    rows = json.loads((tmp_path / "out.json").read_text())["rows"]
    assert {(row["latents"], row["schedule"]) for row in rows} == {
        ("none", "joint"),
        ("continuous", "joint"),
        ("continuous", "sequential"),
        ("discrete", "joint"),
        ("discrete", "sequential"),
    }
    assert all(row["ratio"] > 0 for row in rows)


def test_text_ablations_tell_what_the_latents_give_away(tmp_path):
    texts = tmp_path / "texts"
    texts.mkdir()
    for split in ("train", "validation"):
        (texts / f"{split}.txt").write_text(f"the {split} cat sat on the mat and the dog ran " * 30)
    tiny = f"--data {texts} --hidden_size 32 --num_hidden_layers 1 --length 16 --latent_length 4 --codebook_size 20"
    tiny += " --max_steps 2 --warmup_steps 1 --logging_steps 1"
    tiny += " --per_device_train_batch_size 4 --cpu_threads 3"
    command = [sys.executable, "benchmarks/text_ablations.py", "latents", *tiny.split()]
    command += ["--parallel", "2", "--rows", "recipe", "no unpooling", "--json", str(tmp_path / "x.json")]
    process = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert process.returncode == 0, process.stderr[-3000:]
    rows = json.loads((tmp_path / "x.json").read_text())
    assert set(rows) == {"recipe", "no unpooling"}
    assert all([entry["step"] for entry in row["log"]] == [1, 2] for row in rows.values())
    assert all(0 <= row["log"][-1]["decoded_true"] <= 1 for row in rows.values())
    assert all(row["facts"]["hardware"].endswith(" 3 threads") and "threads" not in row for row in rows.values())
    table = process.stdout.splitlines()
    assert {line.split(" | ")[0] for line in table[2:]} == {"| recipe", "| no unpooling"}


def test_sampling_of_texts_is_scored_with_each_setting_that_a_pipeline_has(tmp_path):
    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "max_position_embeddings": 16}
    tokenizer = character_tokenizer()
    ids = {"vocab_size": len(tokenizer), "mask_token_id": tokenizer.mask_token_id}
    latents = {"latent_type": "continuous", "latent_length": 4, "latent_dim": 2}
    for name, options, scheduler in (
        ("mdlm", {}, LaddJointScheduler()),
        ("co", latents, LaddSequentialScheduler(latent_share=0.75)),
    ):
        model = LaddForDiffusionLM(LaddConfig(**sizes, **ids, **options))
        for parameter in model.parameters():  # output projections start at zero, which no latent can change
            torch.nn.init.normal_(parameter, std=0.2)
        LaddPipeline(model, scheduler=scheduler, tokenizer=tokenizer).save_pretrained(tmp_path / name)
    rows = ["as saved", "half of the steps for the latents", "DDPM steps of the latents"]
    command = [sys.executable, "benchmarks/text_sampling.py", str(tmp_path / "mdlm"), str(tmp_path / "co"), "--rows"]
    command += [*rows, "--budgets", "1", "8", "--num_samples", "64", "--json", str(tmp_path / "x.json")]
    process = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert process.returncode == 0, process.stderr[-3000:]
    found = json.loads((tmp_path / "x.json").read_text())["rows"]
    assert list(found) == ["mdlm | as saved", *(f"co | {row}" for row in rows)]
    assert set(found["mdlm | as saved"]["quality"]) == {"1", "8"}
    assert all(set(found[f"co | {row}"]["quality"]) == {"8"} for row in rows)  # one step is too few for two legs
    saved, halved = (found[f"co | {row}"]["quality"]["8"]["nats"] for row in rows[:2])
    assert saved != halved  # the setting is in force
    assert len([line for line in process.stdout.splitlines() if line.startswith("| co | ")]) == 3


def test_the_gap_benchmark_gives_the_share_that_each_recipe_and_seed_closes(tmp_path):
    recipes = ["--recipes", "sawtooth-co", "--seeds", "3"]
    tiny = "--max_steps 3 --warmup_steps 1 --per_device_train_batch_size 8 --num_samples 20"
    tiny += " --budgets 2 4 128 --num_eval_sequences 10 --length 8"
    command = [
        sys.executable,
        "benchmarks/sawtooth_gap.py",
        *recipes,
        *tiny.split(),
        "--json",
        str(tmp_path / "x.json"),
    ]
    process = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert process.returncode == 0, process.stderr[-3000:]
    (row,) = json.loads((tmp_path / "x.json").read_text())
    assert (row["recipe"], row["seed"]) == ("sawtooth-co", 3) and set(row["gap_closed"]) == {"2", "4", "128"}
    baseline, score = (row["quality"][name]["4"] for name in ("MDLM", "Co-LADD sequential"))
    assert abs(row["gap_closed"]["4"] - (baseline - score) / (baseline - row["entropy"])) < 1e-12
    assert "sawtooth-co, seed 3: gap closed at  2:" in process.stdout


def test_the_input_pipeline_is_timed_for_each_tokenizer_and_path(tmp_path):
    tiny = "--documents 20 --rounds 1 --hidden_size 16 --layers 1 --length 64 --batch_size 128 --steps 6"
    out = tmp_path / "out.json"

    def measure(*flags):
        command = [sys.executable, "benchmarks/input_pipeline.py", *tiny.split(), "--vocab_size", "300", *flags]
        process = subprocess.run([*command, "--json", str(out)], cwd=ROOT, capture_output=True, text=True)
        assert process.returncode == 0, process.stderr[-3000:]
        return json.loads(out.read_text())

    kinds = [(kind, path) for kind in ("characters", "byte-level BPE") for path in ("disk", "stream")]
    speed = measure("--part", "speed")["speed"]
    found = measure("--part", "waiting", "--window", "200")
    assert found["speed"] == speed and found["waiting"]["settings"]["window"] == 200
    assert all([(row["tokenizer"], row["path"]) for row in part["rows"]] == kinds for part in found.values())
    assert all(row["characters_per_second"] > 0 for row in speed["rows"])
    for row in found["waiting"]["rows"]:
        assert row["longest_wait"] > 0 and 0 < row["wait_share"] < 1 and row["tokens_used"] == 6 * 128 * 64
        assert row["encoder_calls"] > 0 if row["path"] == "stream" else row["tokens_encoded"] == 0
