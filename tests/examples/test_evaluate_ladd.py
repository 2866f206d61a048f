"""The bound of a saved model on a corpus, in one command."""

from __future__ import annotations

import importlib.util
import json
import math
import sys
from pathlib import Path

import pytest

from ladd_hf import LaddConfig, LaddForDiffusionLM, LaddPipeline, LaddTrainer, LaddTrainingArguments
from ladd_hf.data import character_tokenizer, load_corpus, token_blocks

SCRIPT = Path(__file__).resolve().parents[2] / "examples" / "evaluate_ladd.py"
LATENTS = {
    "none": {},
    "continuous": {"latent_type": "continuous", "latent_length": 4, "latent_dim": 3},
    "discrete": {
        "latent_type": "discrete",
        "latent_length": 4,
        "latent_dim": 2,
        "quantizer": "finite_scalar",
        "fsq_levels": [3, 3],
    },
}


def evaluate(*flags: object) -> None:
    """The script, in this process."""
    spec = importlib.util.spec_from_file_location("evaluate_ladd", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    sys.modules["evaluate_ladd"] = module  # where its dataclass looks for its types
    spec.loader.exec_module(module)
    module.main([str(flag) for flag in (*flags, "--cpu")])


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Pipelines, a model with its tokenizer, one without, and texts."""
    folder, tokenizer = tmp_path_factory.mktemp("evaluate"), character_tokenizer()
    for kind, latents in LATENTS.items():
        sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "max_position_embeddings": 12}
        ids = {"mask_token_id": tokenizer.mask_token_id, "pad_token_id": tokenizer.pad_token_id}
        model = LaddForDiffusionLM(LaddConfig(vocab_size=len(tokenizer), **ids, **sizes, **latents))
        LaddPipeline(model, tokenizer=tokenizer).save_pretrained(folder / kind)
    model.save_pretrained(folder / "model")
    tokenizer.save_pretrained(folder / "model")
    LaddPipeline(model).save_pretrained(folder / "no tokenizer")
    (folder / "texts").mkdir()
    (folder / "texts" / "test.txt").write_text(
        "all happy families are alike and each unhappy one is so in its way " * 8
    )
    return folder


@pytest.fixture
def measure(folder, tmp_path, monkeypatch):
    """`measure(name, *flags)`: what the script writes."""
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")

    def run(name, *flags):
        evaluate(folder / name, "--data", folder / "texts", "--json", tmp_path / "out.json", *flags)
        return json.loads((tmp_path / "out.json").read_text())

    return run


@pytest.mark.parametrize("kind", LATENTS)
def test_it_is_the_trainers_bound_of_the_test_split(measure, folder, kind, tmp_path, capsys):
    found = measure(kind, "--length", 8, "--samples", 2, "--seed", 3)
    pipeline = LaddPipeline.from_pretrained(folder / kind)
    texts = load_corpus(folder / "texts", "test", cache_dir=str(tmp_path / "cache"))
    blocks = token_blocks(texts, pipeline.tokenizer, 8, remainder="drop", separator=" ")
    paths = ["joint"] if kind == "none" else ["joint", "sequential"]
    options = LaddTrainingArguments(
        str(tmp_path), nelbo_paths=paths, nelbo_samples=2, seed=3, use_cpu=True, disable_tqdm=True
    )
    metrics = LaddTrainer(pipeline.model, options, eval_dataset=blocks).evaluate()
    assert found["sequences"] == len(blocks) and found["length"] == 8
    for path, bound in zip(paths, found["bounds"].values(), strict=True):
        assert bound["nats_per_token"] == pytest.approx(metrics[f"eval_{path}_nelbo"], rel=1e-6)
        assert bound["nats_per_token"] == pytest.approx(bound["token_nats"] + bound["latent_nats"])
        if kind == "continuous":
            assert bound["perplexity"] is None
        else:
            assert math.log(bound["perplexity"]) == pytest.approx(bound["nats_per_token"])
        assert f"{bound['nats_per_token']:.4f}" in capsys.readouterr().out or path == "sequential"


def test_a_model_that_was_saved_with_its_tokenizer_will_do(measure):
    assert measure("model", "--num_sequences", 4)["bounds"] == measure("discrete", "--num_sequences", 4)["bounds"]


def test_some_sequences_are_spread_over_the_split_whatever_the_batch(measure):
    few = measure("none", "--num_sequences", 5)
    assert few["sequences"] == 5 and few["length"] == 12
    bound = measure("none", "--num_sequences", 5, "--batch_size", 2)["bounds"]["tokens"]["nats_per_token"]
    assert bound == pytest.approx(few["bounds"]["tokens"]["nats_per_token"], rel=1e-6)


@pytest.mark.parametrize(
    ("name", "flags", "message"),
    [
        ("none", ("--length", 13), "--length is 13, but the model has 12 positions"),
        ("none", ("--split", "train"), "has no split 'train', but 'test'"),
        ("no tokenizer", (), "has no tokenizer, which texts need: save it"),
        ("nowhere", (), "nowhere"),
    ],
)
def test_what_can_not_be_evaluated_is_said_in_a_sentence(measure, name, flags, message):
    with pytest.raises(SystemExit, match=message):
        measure(name, *flags)


@pytest.mark.parametrize(
    ("flags", "message"),
    [(("--samples", 0), "--samples is 0"), (("--json", "nowhere/x.json"), "--json nowhere/x.json is in no folder")],
)
def test_flags_that_can_not_work_are_named(folder, flags, message, capsys):
    with pytest.raises(SystemExit):
        evaluate(folder / "none", "--data", "python-docs", *flags)
    assert message in capsys.readouterr().err
