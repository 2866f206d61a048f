"""The example runs a fixed pretrained encoder once, and trains on what it said."""

from __future__ import annotations

import shlex

import numpy as np
import pytest
from helpers.encoders import letters, save_encoder
from helpers.examples import train_ladd as example

from ladd_hf import LaddJointScheduler, LaddTrainingArguments

RECIPE = """
data: {folder}/texts
tokenizer: {folder}/tokenizer
length: 16
hidden_size: 16
num_hidden_layers: 1
num_attention_heads: 2
cond_hidden_size: 8
latent_type: discrete
latent_length: 4
latent_dim: 8
codebook_size: 8
encoder: {{name: pretrained, name_or_path: {folder}/encoder}}
precompute_latents: true
max_steps: 3
logging_steps: 1
per_device_train_batch_size: 8
use_cpu: true
save_strategy: "no"
report_to: none
disable_tqdm: true
"""


@pytest.fixture
def recipe(tmp_path, monkeypatch):
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")
    texts = tmp_path / "texts"
    texts.mkdir()
    for split in ("train", "validation"):
        (texts / f"{split}.txt").write_text("the quick brown fox jumps over the lazy dog " * 20)
    tokenizer = letters()
    tokenizer.save_pretrained(tmp_path / "tokenizer")
    save_encoder(tmp_path / "encoder", "bert", tokenizer, vocab_size=len(tokenizer))
    path = tmp_path / "recipe.yaml"
    path.write_text(RECIPE.format(folder=tmp_path))
    return path


@pytest.mark.parametrize("held_out", [4, 0])
def test_training_reads_stored_latents_and_never_the_encoder(held_out, recipe, tmp_path, capsys):
    run, model, _, training = example.parse_arguments([str(recipe), "--output_dir", str(tmp_path / "out")])
    assert isinstance(training, LaddTrainingArguments)
    task = example.make_task(run)
    data = task.train_dataset(24, 0), task.eval_dataset(held_out, 0)
    config = model.config(task, latents=True)
    trainer, _ = example.train(
        "Di-LADD", config, training, task, data, LaddJointScheduler(), precompute=run.precompute_latents
    )
    count = len(data[0])
    assert f"encoder: {count:,} texts, 4 x 8 float16: {count * 64 / 1e6:,.1f} MB" in capsys.readouterr().out
    assert len(trainer.eval_dataset or []) == held_out
    for dataset in (trainer.train_dataset, trainer.eval_dataset)[: 2 if held_out else 1]:
        assert np.size(dataset[0]["precomputed_latents"]) == 4 * 8
    assert trainer.state.global_step == 3
    assert trainer.model.encoder.pretrained.network is None, "not loaded again"


@pytest.mark.parametrize(
    "flags, says",
    [
        ("--encoder '{{name_or_path: {folder}/nope}}'", "configuration of the encoder '.*nope' cannot be loaded"),
        ("--latent_dim 17", "from which `latent_dim` 17 cannot be cut"),
        ("--tokenizer {folder}/other", "so they do not share their ids"),
        ("--encoder '{{name_or_path: {folder}/alone, tokenizer: own}}'", "comes without a tokenizer"),
        ("--encoder '{{name_or_path: {folder}/short}}'", "has 16 tokens of the encoder .*, which reads up to 8"),
        ("--encoder '{{trained: true}}'", "Only the latents of a fixed pretrained encoder"),
        ("--streaming true", "cannot be stored beside a stream of blocks"),
    ],
)
def test_an_encoder_that_can_not_do_it_is_found_before_anything_is_trained(flags, says, recipe, tmp_path, monkeypatch):
    monkeypatch.setattr(example, "train", lambda *args, **options: pytest.fail("something was trained"))
    letters("zyxwvutsrqponmlkjihgfedcba ").save_pretrained(tmp_path / "other")
    save_encoder(tmp_path / "alone", "bert", vocab_size=29)
    save_encoder(tmp_path / "short", "bert", vocab_size=29, max_position_embeddings=8)
    argv = [str(recipe), *shlex.split(flags.format(folder=tmp_path)), "--output_dir", str(tmp_path / "out")]
    with pytest.raises(SystemExit, match=says):
        example.main(argv)


def test_terms_that_hide_tokens_from_the_encoder_are_refused_before_anything_is_trained(recipe, tmp_path):
    flags = ["--encoder_corruption", "0.9", "--output_dir", str(tmp_path / "out")]
    with pytest.raises(SystemExit, match=r"`encoder_corruption` is 0\.9, which hides tokens from the encoder"):
        example.main([str(recipe), *flags])
