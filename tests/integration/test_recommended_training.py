"""Recommended settings learn in some hundred steps what the paper's do not: their latents carry the text."""

from __future__ import annotations

import random

import pytest
import torch

from ladd_hf import LaddConfig, LaddForDiffusionLM, Stage
from ladd_hf.data import character_tokenizer
from ladd_hf.metrics.one_step_decoding import one_step_accuracy

SMALL = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "cond_hidden_size": 16}
LENGTH, STEPS = 16, 150
TOKENIZER = character_tokenizer()


def words_at_random(rows, seed):
    """Texts of words of three letters and a space, cut anywhere, of 24 words."""
    words = ["".join(random.Random(one).sample("abcdefghijklmnop", 3)) for one in range(24)]
    draws = random.Random(seed)
    texts = [" ".join(draws.choices(words, k=8))[draws.randrange(4) :][:LENGTH] for _ in range(rows)]
    return [{"input_ids": torch.tensor(TOKENIZER(text).input_ids)} for text in texts]


def decoded(config, stages, make_trainer):
    """Trains; returns the shares of tokens of other texts that one evaluation recovers."""
    torch.manual_seed(0)
    options = {"max_steps": STEPS, "per_device_train_batch_size": 32, "learning_rate": 5e-3, "ema_decay": 0.97}
    trainer = make_trainer(LaddForDiffusionLM(config), data=words_at_random(2000, 0), stages=stages, **options)
    trainer.train()
    held_out = torch.stack([one["input_ids"] for one in words_at_random(64, 1)])
    with trainer.ema.applied():
        return one_step_accuracy(trainer.model, held_out)


def papers(config):
    """The defaults of `LaddConfig`, with as many latents and codes of the same size as another configuration has."""
    same = ("vocab_size", "mask_token_id", "pad_token_id", "max_position_embeddings")
    latents = ("latent_type", "latent_length", "latent_dim", "codebook_size")
    return LaddConfig(**{name: getattr(config, name) for name in (*same, *latents)}, **SMALL)


@pytest.mark.parametrize("kind", ["discrete", "continuous"])
def test_true_latents_decode_and_shuffled_ones_do_not(kind, make_trainer):
    config = LaddConfig.recommended(TOKENIZER, kind, LENGTH, num_tokens=2000 * LENGTH, **SMALL)
    shares = decoded(config, Stage.recommended(config, STEPS), make_trainer)
    assert shares["true"] > 0.4, shares
    assert shares["shuffled"] < 0.25, shares


@pytest.mark.parametrize("kind", ["discrete", "continuous"])
def test_latents_of_the_papers_settings_tell_nothing_after_as_many_steps(kind, make_trainer):
    """Whosever they are, with all steps but the prior's last one for the encoder: a quarter are spaces."""
    config = papers(LaddConfig.recommended(TOKENIZER, kind, LENGTH, num_tokens=2000 * LENGTH, **SMALL))
    shares = decoded(config, [Stage("encoder", steps=STEPS - 1), "prior"], make_trainer)
    assert shares["true"] == pytest.approx(shares["shuffled"], abs=0.03) and shares["true"] < 0.3, shares
