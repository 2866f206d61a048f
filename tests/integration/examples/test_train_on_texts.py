"""The main job on texts, made tiny: judged by an n-gram model, with samples to read."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path
from subprocess import CompletedProcess

import pytest
from helpers.example_runs import TINY, train

from ladd_hf import LaddPipeline


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
def text_outcome(texts: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, CompletedProcess[str]]:
    folder = tmp_path_factory.mktemp("run") / "out"
    recipe = "examples/configs/python-docs-di.yaml"
    sizes = "--length 16 --latent_length 4 --codebook_size 20 --hidden_size 32 --num_hidden_layers 1"
    return folder, train(recipe, "--data", str(texts), *sizes.split(), *TINY, "--output_dir", str(folder))


def test_texts_are_judged_by_an_n_gram_model_with_their_entropy_beside(text_outcome):
    folder, process = text_outcome
    assert process.returncode == 0, process.stderr[-3000:]
    of_table = re.compile(r"(MDLM|Di-LADD)[ a-zMDL]*  +[\d-]")
    rows = [line.split("  ")[0] for line in process.stdout.splitlines() if of_table.match(line)]
    expected = ["MDLM", "Di-LADD joint", "Di-LADD joint that waits", "Di-LADD sequential"]
    compared = [f"{name} perplexity vs MDLM" for name in expected[1:]]
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


def test_a_corpus_without_training_texts_is_refused(tmp_path):
    (tmp_path / "validation.txt").write_text("held out and nothing else")
    process = train("--data", str(tmp_path), *TINY, "--output_dir", str(tmp_path / "out"))
    assert process.returncode != 0
    assert "has the splits 'validation', but 'train'" in process.stderr and "Traceback" not in process.stderr
