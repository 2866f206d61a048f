"""The main job, made tiny: from data to samples, tables and shareable folders."""

from __future__ import annotations

import json
import math
import re
import subprocess
import sys
from pathlib import Path

import pytest

from ladd_hf import LaddPipeline, LaddSequentialScheduler

ROOT = Path(__file__).resolve().parents[2]
TINY = [
    *("--max_steps", "4", "--stage_1_steps", "2", "--warmup_steps", "1", "--per_device_train_batch_size", "8"),
    *("--num_samples", "20", "--budgets", "1", "2", "4", "--num_eval_sequences", "10", "--logging_steps", "1"),
]


def train(*flags: str, launcher: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, *launcher, "examples/train_ladd.py", *flags]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True)


@pytest.fixture(scope="module")
def outcome(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, subprocess.CompletedProcess[str]]:
    folder = tmp_path_factory.mktemp("run") / "out"
    launcher = ("-m", "accelerate.commands.launch", "--num_processes", "1")
    return folder, train(*TINY, "--output_dir", str(folder), launcher=launcher)


def test_the_main_job_prints_a_table_of_quality_against_evaluations(outcome):
    _, process = outcome
    assert process.returncode == 0, process.stderr[-3000:]
    rows = [line for line in process.stdout.splitlines() if re.match(r"(MDLM|Di-LADD)[ a-z]*  +[\d-]", line)]
    labels = ["MDLM", "Di-LADD joint", "Di-LADD sequential", "Di-LADD joint closes", "Di-LADD sequential closes"]
    assert [row.split("  ")[0] for row in rows] == labels
    assert all(len(row.split()) >= 4 for row in rows)


def test_its_results_are_written_as_json_and_as_a_plot(outcome):
    folder, _ = outcome
    results = json.loads((folder / "results.json").read_text())
    assert set(results["quality"]) == {"MDLM", "Di-LADD joint", "Di-LADD sequential"}
    assert set(results["quality"]["MDLM"]) == {"1", "2", "4"}
    assert set(results["quality"]["Di-LADD sequential"]) == {"2", "4"}  # one evaluation can not walk two legs
    assert 0.5 < results["reference"]["nats"] < 0.6
    assert (folder / "results.png").read_bytes().startswith(b"\x89PNG")


def test_both_pipelines_load_and_write_and_have_a_card(outcome):
    folder, _ = outcome
    for name in ("mdlm", "di-ladd"):
        assert (folder / name / "model_index.json").is_file()
        pipeline = LaddPipeline.from_pretrained(folder / name)
        assert pipeline(num_steps=2, batch_size=3).sequences.shape == (3, 32)
        card = (folder / name / "README.md").read_text()
        assert "LaddPipeline.from_pretrained" in card and "Nats" not in card.split("---")[1]
    assert isinstance(LaddPipeline.from_pretrained(folder / "di-ladd").scheduler, LaddSequentialScheduler)


@pytest.fixture(scope="module")
def texts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of texts; a document for each line would be too short."""
    folder = tmp_path_factory.mktemp("texts")
    for split, count in (("train", 40), ("validation", 10)):
        lines = [
            f"The {n}th cat sat on {'the' if n % 2 else 'a'} mat, and dog number {n} ran away." for n in range(count)
        ]
        (folder / f"{split}.txt").write_text("\n".join(lines))
    return folder


@pytest.fixture(scope="module")
def text_outcome(
    texts: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, subprocess.CompletedProcess[str]]:
    folder = tmp_path_factory.mktemp("run") / "out"
    recipe = "examples/configs/python-docs-di.yaml"
    sizes = "--length 16 --latent_length 4 --codebook_size 20 --hidden_size 32 --num_hidden_layers 1 --mdlm_steps 1"
    return folder, train(recipe, "--data", str(texts), *sizes.split(), *TINY, "--output_dir", str(folder))


def test_texts_are_judged_by_an_n_gram_model_with_their_entropy_beside(text_outcome):
    folder, process = text_outcome
    assert process.returncode == 0, process.stderr[-3000:]
    rows = [
        line.split("  ")[0] for line in process.stdout.splitlines() if re.match(r"(MDLM|Di-LADD)[ a-z]*  +[\d-]", line)
    ]
    expected = ["MDLM", "Di-LADD joint", "Di-LADD sequential"]
    compared = [f"{name} perplexity" for name in expected[1:]]
    assert rows == [*expected, *compared, *(f"{name} entropy" for name in expected)]
    results = json.loads((folder / "results.json").read_text())
    judged = results["quality"]["Di-LADD sequential"]["2"]
    assert 0 < judged["entropy"] < 3.4 and judged["nats"] > results["reference"]["nats"]
    share = results["comparison"]["Di-LADD sequential"]["2"]
    assert share == pytest.approx(math.expm1(judged["nats"] - results["quality"]["MDLM"]["2"]["nats"]))


def test_a_run_on_texts_shows_samples_and_what_the_latents_give_away(text_outcome):
    folder, process = text_outcome
    assert "Di-LADD sequential, 2 evaluations: '" in process.stdout
    assert re.search(r"decoded_true 0?\.?\d+.*decoded_shuffled", process.stdout)
    log = json.loads((folder / "results.json").read_text())["log"]
    assert len([entry for entry in log["ladd"] if "decoded_true" in entry]) == 4


def test_a_pipeline_of_texts_has_its_tokenizer_and_a_card_with_entropies(text_outcome):
    folder, _ = text_outcome
    pipeline = LaddPipeline.from_pretrained(folder / "di-ladd")
    (text,) = pipeline("the cat", num_steps=3).texts
    assert text.startswith("the cat") and len(text) >= 7
    card = (folder / "di-ladd" / "README.md").read_text()
    assert "| Di-LADD sequential, entropy |" in card and "Held-out texts score" in card


@pytest.mark.parametrize("flags", [("--tokenizer", "byte_level_bpe", "--tokenizer_vocab_size", "300", "--streaming")])
def test_texts_may_be_streamed_in_other_tokens_without_a_baseline(texts, tmp_path, flags):
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(
        "length: 16\nhidden_size: 32\nnum_hidden_layers: 1\nnum_attention_heads: 2\nlatent_type: continuous\n"
        "latent_length: 4\nlatent_dim: 3\nper_device_eval_batch_size: 10\nsave_strategy: 'no'\nbaseline: false\n"
    )
    process = train(str(recipe), "--data", str(texts), *flags, *TINY, "--output_dir", str(tmp_path / "out"))
    assert process.returncode == 0, process.stderr[-3000:]
    assert "Co-LADD sequential" in process.stdout and "MDLM" not in process.stdout


def test_a_corpus_that_is_not_there_is_named(tmp_path):
    process = train("--data", "no-such-corpus", *TINY, "--output_dir", str(tmp_path / "out"))
    assert process.returncode != 0
    assert "no corpus, file or folder 'no-such-corpus'" in process.stderr and "Traceback" not in process.stderr


def test_an_output_folder_with_results_is_refused_and_left_as_it_is(outcome):
    folder, _ = outcome
    before = (folder / "results.json").read_text()
    process = train(*TINY, "--output_dir", str(folder))
    assert process.returncode != 0
    assert "already holds the results of a run" in process.stderr
    assert (folder / "results.json").read_text() == before


@pytest.mark.parametrize(
    ("text", "message"), [("max_step: 3\n", "unknown fields ['max_step']"), (None, "is not a file")]
)
def test_a_wrong_recipe_is_named(tmp_path, text, message):
    recipe = tmp_path / "recipe.yaml"
    if text is not None:
        recipe.write_text(text)
    process = train(str(recipe))
    assert process.returncode != 0
    assert message in process.stderr


def test_a_flag_that_does_not_exist_is_named():
    process = train("--config", "examples/configs/sawtooth-di.yaml", "--stepps", "3")
    assert process.returncode != 0
    assert "--stepps 3 is not understood" in process.stderr and "Traceback" not in process.stderr


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--unmasking", "sorted"), "`unmasking` 'sorted' is unknown"),
        (("--latent_solver", "euler"), "'euler' is unknown"),
        (("--quantizer", "none"), "quantizer"),
        (("--latent_type", "both"), "latent_type"),
        (("--size", "XXXL"), "Size 'XXXL' is unknown"),
    ],
    ids=lambda flags: flags[0] if isinstance(flags, tuple) else "",
)
def test_settings_that_can_not_work_are_refused_before_anything_is_trained(tmp_path, flags, message):
    process = train(*TINY, *flags, "--output_dir", str(tmp_path / "out"))
    assert process.returncode != 0
    assert message in process.stderr and "Traceback" not in process.stderr
    assert "step" not in process.stdout


def test_latents_with_a_denoiser_of_their_own_are_sampled_before_the_tokens(tmp_path):
    flags = ("--config", "examples/configs/sawtooth-co.yaml", *TINY, "--nelbo_paths", "sequential")
    process = train(
        *flags, "--separate_latent_denoiser", "true", "--baseline", "false", "--output_dir", str(tmp_path / "out")
    )
    assert process.returncode == 0, process.stderr[-3000:]
    assert set(json.loads((tmp_path / "out" / "results.json").read_text())["quality"]) == {"Co-LADD sequential"}
