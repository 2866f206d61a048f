"""Benchmarks, made tiny, run, and write what they print."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import datasets
import pytest
import torch
from helpers.benchmark_runs import run_benchmark
from helpers.evaluations import results_of

from ladd_hf import LaddConfig, LaddForDiffusionLM, LaddJointScheduler, LaddPipeline, LaddSequentialScheduler
from ladd_hf.data import character_tokenizer
from ladd_hf.evaluation import compared
from ladd_hf.metrics import CausalJudge
from ladd_hf.metrics.generative_perplexity import text_nats
from ladd_hf.training.cost_files import COST_FILE

FOLDER = Path(__file__).resolve().parents[3] / "benchmarks"


@pytest.fixture
def run(monkeypatch, capsys):
    """`run(name, *flags)`: what the benchmark prints."""

    def run(name, *flags):
        spec = importlib.util.spec_from_file_location(name, FOLDER / f"{name}.py")
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        monkeypatch.setattr("sys.argv", [f"{name}.py", *map(str, flags)])
        module.main()
        return capsys.readouterr().out

    yield run
    datasets.enable_progress_bars()


def test_sampling_overhead_prints_a_ratio_for_each_schedule(run, tmp_path):
    sizes = "--vocabularies 8 --hidden_size 16 --layers 1 --length 16 --batch_size 2 --num_steps 2 --rounds 1"
    run("sampling_overhead", *sizes.split(), "--json", tmp_path / "out.json")
    rows = json.loads((tmp_path / "out.json").read_text())["rows"]
    assert {(row["latents"], row["schedule"]) for row in rows} == {
        ("none", "joint"),
        ("continuous", "joint"),
        ("continuous", "sequential"),
        ("discrete", "joint"),
        ("discrete", "sequential"),
    }
    assert all(row["ratio"] > 0 for row in rows)


LATENTS = {"latent_type": "continuous", "latent_length": 4, "latent_dim": 2}


def save_writer(folder, options, scheduler):
    """Saves a pipeline of texts whose weights are drawn: output projections start at zero, which no latent can
    change."""
    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "max_position_embeddings": 16}
    tokenizer = character_tokenizer()
    ids = {"vocab_size": len(tokenizer), "mask_token_id": tokenizer.mask_token_id}
    model = LaddForDiffusionLM(LaddConfig(**sizes, **ids, **options))
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    LaddPipeline(model, scheduler=scheduler, tokenizer=tokenizer).save_pretrained(folder)


def test_more_evaluations_of_the_latents_are_scored_beside_as_many_of_the_tokens(run, tmp_path):
    save_writer(tmp_path / "a row" / "co-ladd", LATENTS, LaddSequentialScheduler())
    flags = ["--latent_steps", "1", "3", "--token_steps", "2", "--renoising", "0", "0.5", "--num_samples", "16"]
    printed = run("latent_steps", tmp_path / "a row" / "co-ladd", *flags, "--json", tmp_path / "x.json")
    found = json.loads((tmp_path / "x.json").read_text())["pipelines"]["a row"]
    assert {share: list(scores) for share, scores in found.items()} == {"0.0": ["1", "3"], "0.5": ["1", "3"]}
    one, other = found.values()
    assert one["1"] == other["1"], "a single step ends without noise"
    assert len({one["1"]["nats"], one["3"]["nats"], other["3"]["nats"]}) == 3
    assert [line.split(" | ")[:2] for line in printed.splitlines()[2:]] == [["| a row", "0.0"], ["| a row", "0.5"]]


def test_sampling_of_texts_is_scored_with_each_setting_that_a_pipeline_has(run, tmp_path):
    save_writer(tmp_path / "mdlm", {}, LaddJointScheduler())
    save_writer(tmp_path / "co", LATENTS, LaddSequentialScheduler(latent_share=0.75))
    rows = ["as saved", "half of the steps for the latents", "DDPM steps of the latents"]
    refused = "length of predicted latents put back"  # which these have not
    flags = ["--budgets", "1", "8", "--num_samples", "64", "--json", tmp_path / "x.json"]
    printed = run("text_sampling", tmp_path / "mdlm", tmp_path / "co", "--rows", *rows, refused, *flags)
    found = json.loads((tmp_path / "x.json").read_text())["rows"]
    assert list(found) == ["mdlm | as saved", *(f"co | {row}" for row in rows)]
    assert set(found["mdlm | as saved"]["quality"]) == {"1", "8"}
    assert all(set(found[f"co | {row}"]["quality"]) == {"8"} for row in rows)  # one step is too few for two legs
    saved, halved = (found[f"co | {row}"]["quality"]["8"]["nats"] for row in rows[:2])
    assert saved != halved  # the setting is in force
    assert len([line for line in printed.splitlines() if line.startswith("| co | ")]) == 3


def test_the_input_pipeline_is_timed_for_each_tokenizer_and_path(run, tmp_path):
    tiny = "--documents 20 --rounds 1 --hidden_size 16 --layers 1 --length 64 --batch_size 128 --steps 6"
    out = tmp_path / "out.json"

    def measure(*flags):
        run("input_pipeline", *tiny.split(), "--vocab_size", "300", *flags, "--json", out)
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


def test_a_tuned_schedule_is_compared_with_those_set_by_hand(run, tmp_path, capsys):
    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "max_position_embeddings": 8}
    latents = {"latent_type": "discrete", "latent_length": 1, "latent_dim": 2, "codebook_size": 4}
    for name, options in (("di", latents), ("mdlm", {})):
        model = LaddForDiffusionLM(LaddConfig(vocab_size=3, mask_token_id=2, **sizes, **options))
        LaddPipeline(model).save_pretrained(tmp_path / name)
    cost = {"steps": 3, "flops": 2e12, "seconds": 9.0, "uncounted_steps": 0, "hardware": "1 x CPU", "stages": []}
    (tmp_path / "di" / COST_FILE).write_text(json.dumps(cost))
    sizes = ["--budgets", "1", "2", "--num_texts", "8", "--cells", "2", "--num_bound_texts", "8", "--num_samples", "8"]
    with pytest.raises(SystemExit):
        run("tuned_schedule", tmp_path / "di", tmp_path / "mdlm", *sizes)
    assert "mdlm does not say what its training cost: give --training_seconds" in capsys.readouterr().err
    sizes += ["--training_seconds", "10"]
    printed = run("tuned_schedule", tmp_path / "di", tmp_path / "mdlm", *sizes, "--json", tmp_path / "x.json")
    found = json.loads((tmp_path / "x.json").read_text())
    assert list(found) == ["di", "mdlm"] and "of the training of 9.0 s)" in printed
    assert "of 2e+12)" in printed and "of the training of 10.0 s)" in printed and "training_flops" not in found["mdlm"]
    assert (found["di"]["training_seconds"], found["di"]["training_flops"]) == (9.0, 2e12)
    assert all(one["tuning_share"] == one["tuning_seconds"] / one["training_seconds"] for one in found.values())
    assert found["di"]["tuning_share_of_flops"] == found["di"]["tuning_flops"] / 2e12 > 0
    assert set(found["di"]["budgets"]["1"]) == {"tuned", "joint", "joint, cosine"}
    assert "sequential, in halves" in found["di"]["budgets"]["2"]
    assert set(found["mdlm"]["budgets"]["2"]) == {"tuned", "joint", "joint, cosine"}
    for score in found["di"]["budgets"]["2"].values():
        assert score["bound"]["nats"] > 0 and score["bound"]["error"] >= 0 and score["samples"]["nats"] > 0
        assert len(score["bound"]["run"]) == 3


def test_tables_are_written_anew_against_another_baseline(run, tmp_path, monkeypatch, capsys):
    monkeypatch.syspath_prepend(str(FOLDER))
    file = tmp_path / "tiny_quality.json"
    both = [results_of(name, [("saved", 2, 5.0, score)]) for name, score in (("a", 2.0), ("b", 1.5))]
    file.write_text(json.dumps({"command": "python x.py", "training": {"a-0": {}}, **compared(both).data()}))
    printed = run("redraw_tables", file)
    before = json.loads(file.read_text())
    assert "| a saved there |" in printed and (tmp_path / "tiny_quality.png").stat().st_size > 10_000
    printed = run("redraw_tables", file, "--baseline", "b saved")
    after = json.loads(file.read_text())
    assert "| b saved there |" in printed and (tmp_path / "tiny_quality.md").read_text() in printed
    assert after["baseline"] == "b saved" and after["command"] == "python x.py" and after["training"] == {"a-0": {}}
    assert after["models"] == before["models"] and list(after) == list(before)
    with pytest.raises(SystemExit):
        run("redraw_tables", file, "--baseline", "c saved")
    assert "give one of ['a saved', 'b saved']" in capsys.readouterr().err


def test_a_small_judge_is_a_model_of_transformers_that_judges(run, tmp_path):
    for split, count in (("train", 40), ("validation", 8)):
        lines = [f"the {n} cats sat on the mat and the dogs ran to the log" for n in range(count)]
        (tmp_path / f"{split}.txt").write_text("\n".join(lines))
    folder = tmp_path / "my-judge"
    sizes = "--length 16 --hidden_size 32 --num_hidden_layers 1 --max_steps 60 --batch_size 8 --tokenizer character"
    said = run("train_small_judge", "--data", tmp_path, *sizes.split(), "--output_dir", folder)
    assert "stands in for gpt2-large" in said and "perplexity" in said
    judge = CausalJudge(str(folder), device="cpu")
    assert judge.name == "my-judge" and judge.max_length == 16
    read, shuffled = text_nats(judge, ["the cats sat on the mat"]), text_nats(judge, ["tth acse a stno eht mta"])
    assert read.nats < shuffled.nats


def test_the_comparisons_at_equal_diversity_are_what_the_script_makes_of_its_files(tmp_path):
    results = FOLDER / "results"
    files = [results / f"python-docs-{name}_quality.json" for name in ("temperatures-mdlm", "tempered")]
    ran = run_benchmark("equal_diversity", *files, "--name", "again", "--results", tmp_path)
    assert ran.returncode == 0, ran.stderr
    kept, again = (
        json.loads(file.read_text())["at_equal_diversity"]
        for file in (results / "python-docs-equal-diversity.json", tmp_path / "again.json")
    )
    assert kept == again and (tmp_path / "again.png").stat().st_size > 10_000
    run = "python-docs-co saved, temperature 0.6, latent_temperature 0.6"
    cells = [
        f"{one['change']:+.0%} ± {one['change_stderr']:.0%}".replace("-", "−")
        for one in kept
        if (one["axis"], one["measure"], one["run"]) == ("nfe", "entropy", run)
    ]
    assert len(cells) == 5 and f"| {run} | {' | '.join(cells)} |" in ran.stdout
