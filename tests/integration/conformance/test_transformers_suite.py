"""transformers' own conformance suite, run against both models."""

from __future__ import annotations

import os
import unittest
from unittest.mock import patch

import pytest
import torch
from helpers.transformers_suite import transformers_suite

from ladd_hf import LaddConfig, LaddForDiffusionLM, LaddModel, TrainingNoise

try:
    suite = transformers_suite()
except RuntimeError as error:
    if os.environ.get("CI"):
        raise
    pytest.skip(str(error), allow_module_level=True)

LATENTS = {
    "none": {},
    "continuous": {"latent_type": "continuous", "latent_length": 4, "latent_dim": 3},
    "discrete": {
        "latent_type": "discrete",
        "latent_length": 4,
        "latent_dim": 3,
        "quantizer": {"name": "finite_scalar", "levels": [3, 3]},
    },
}


class LaddModelTester:
    """Small configurations and inputs, in the suite's terms."""

    batch_size = 3
    seq_length = 7
    hidden_size = 32
    num_hidden_layers = 2
    num_attention_heads = 2
    mask_token_id = 98
    is_training = True
    # A model that takes `noise` is given some per image patch; without labels ours does not look at it.
    image_size = patch_size = 1

    def __init__(self, kind, attends_to_latents=True):
        self.kind = kind
        if attends_to_latents:
            self.encoder_seq_length = self.key_length = self.seq_length + LATENTS[kind].get("latent_length", 0)

    def get_config(self):
        return LaddConfig(
            vocab_size=99,
            mask_token_id=self.mask_token_id,
            pad_token_id=0,
            hidden_size=self.hidden_size,
            num_hidden_layers=self.num_hidden_layers,
            num_attention_heads=self.num_attention_heads,
            cond_hidden_size=16,
            max_position_embeddings=64,
            **LATENTS[self.kind],
        )

    def prepare_config_and_inputs_for_common(self):
        generator, config = torch.Generator().manual_seed(0), self.get_config()
        tokens = torch.randint(1, 98, (self.batch_size, self.seq_length), generator=generator)
        inputs = {"input_ids": tokens, "attention_mask": torch.ones_like(tokens)}
        if self.kind == "continuous":
            inputs["latents"] = torch.randn(self.batch_size, 4, 3, generator=generator)
            inputs["latent_timesteps"] = torch.rand(self.batch_size, generator=generator)
        if self.kind == "discrete":
            inputs["latents"] = torch.randint(0, config.latent_mask_code + 1, (self.batch_size, 4), generator=generator)
        return config, inputs


class FiniteLogits(LaddForDiffusionLM):
    """The model with a number for the mask token's logit, which is minus infinity by definition (section 2)."""

    def forward(self, *args, **kwargs):
        output = super().forward(*args, **kwargs)
        return {**output, "logits": output.logits.masked_fill(output.logits == -float("inf"), 0.0)}


class ModelSuite(suite.ModelTesterMixin, suite.TrainingTesterMixin):
    """The suite's tests for one kind of latents."""

    all_model_classes = (LaddModel, LaddForDiffusionLM)
    # as of transformers 5.23.0 it reads the year off a notice that our files do not have
    test_can_init_all_missing_weights_before_2023 = True
    training_overfit_learning_rate = 3e-3
    additional_model_inputs = ("latents", "latent_timesteps")
    kind = "none"

    def setUp(self):
        self.model_tester = LaddModelTester(self.kind)
        if "resize" in self._testMethodName:  # it takes the last tokens away, which the mask may not be among
            self.model_tester.mask_token_id = 1

    def _get_trainable_model_class(self):
        return LaddForDiffusionLM

    def _prepare_for_class(self, inputs_dict, model_class, return_labels=False):
        inputs = super()._prepare_for_class(inputs_dict, model_class, return_labels)
        if model_class is LaddModel and (latents := inputs.pop("latents", None)) is not None:
            vectors = latents if latents.ndim == 3 else latents[..., None].float().expand(-1, -1, 3)
            inputs["latent_vectors"] = vectors
        if return_labels and model_class is LaddForDiffusionLM:
            rows = torch.arange(len(inputs["input_ids"]))
            inputs |= {"labels": inputs["input_ids"].clone(), "noise": TrainingNoise(0, rows)}
        return inputs

    def _create_text_training_batch(self, **sizes):
        batch = super()._create_text_training_batch(**sizes)
        return {**batch, "noise": TrainingNoise(0, torch.arange(len(batch["input_ids"])))}  # fixed, as the batch

    def test_hidden_states_output(self):
        self.model_tester = LaddModelTester(self.kind, attends_to_latents=False)  # they are the tokens' states
        super().test_hidden_states_output()

    def test_batching_equivalence(self):
        with patch.object(type(self), "all_model_classes", (LaddModel, FiniteLogits)):
            super().test_batching_equivalence()

    def test_training(self):
        with patch.object(type(self), "all_model_classes", (LaddForDiffusionLM,)):  # the other one has no loss
            super().test_training()

    def check_training_gradient_checkpointing(self, *args, **kwargs):
        with patch.object(type(self), "all_model_classes", (LaddForDiffusionLM,)):
            super().check_training_gradient_checkpointing(*args, **kwargs)


class TestTokensAlone(ModelSuite, unittest.TestCase):
    kind = "none"


class TestContinuous(ModelSuite, unittest.TestCase):
    kind = "continuous"


class TestDiscrete(ModelSuite, unittest.TestCase):
    kind = "discrete"


class TestConfiguration(unittest.TestCase):
    def test_config(self):
        for kind in LATENTS:
            options = {"vocab_size": 99, "hidden_size": 32, "num_attention_heads": 2, **LATENTS[kind]}
            with self.subTest(kind):
                self.model_tester = LaddModelTester(kind)
                suite.ConfigTester(self, config_class=LaddConfig, **options).run_common_tests()
