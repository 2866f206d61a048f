"""The example runs a fixed pretrained encoder once, and trains on what it said."""

from __future__ import annotations

import numpy as np
import pytest
from helpers.encoders import letters, save_encoder
from helpers.examples import train_ladd as example

from ladd_hf import LaddTrainingArguments

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
encoder_name_or_path: {folder}/encoder
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
def recipe(tmp_path):
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


def test_training_reads_stored_latents_and_never_the_encoder(recipe, tmp_path):
    run, model, _, training = example.parse_arguments([str(recipe), "--output_dir", str(tmp_path / "out")])
    assert isinstance(training, LaddTrainingArguments)
    task = example.make_task(run)
    data = task.train_dataset(24, 0), task.eval_dataset(4, 0)
    config = model.config(task, latents=True)
    trainer, _ = example.train("Di-LADD", config, training, task, data, precompute=run.precompute_latents)
    for dataset in (trainer.train_dataset, trainer.eval_dataset):
        assert np.size(dataset[0]["precomputed_latents"]) == 4 * 8
    assert trainer.state.global_step == 3
    assert trainer.model.encoder.pretrained.network is None, "not loaded again"


def test_terms_that_hide_tokens_from_the_encoder_are_refused_before_anything_is_trained(recipe, tmp_path):
    flags = ["--encoder_corruption", "0.9", "--mdlm_steps", "1", "--output_dir", str(tmp_path / "out")]
    with pytest.raises(SystemExit, match=r"`encoder_corruption` is 0\.9, which hides tokens from the encoder"):
        example.main([str(recipe), *flags])
