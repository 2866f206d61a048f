"""Terms of one's own: added to the loss with their weight, divided by the counts of the whole step, and logged."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from helpers.registries import kept

from ladd_hf import TrainingNoise, TrainingObjective, register_loss_term
from ladd_hf.diffusion.step_counts import StepCounts
from ladd_hf.diffusion.training_loss import training_loss


@pytest.fixture(autouse=True)
def own_terms():
    """Two terms: of the logits, and of the latents."""
    with kept():
        register_loss_term("log_partition", log_partition)
        register_loss_term("latent_size", latent_size)
        yield


def log_partition(inputs):
    """The mean squared logarithm of the partition function, which keeps logits from drifting."""
    return inputs.output.logits.logsumexp(-1).square().sum(), inputs.counts.tokens


def latent_size(inputs):
    return inputs.latents.encoded.vectors.square().sum(), inputs.counts.examples


def losses(model, counts=None, **settings):
    tokens = torch.randint(1, 10, (4, 12), generator=torch.Generator().manual_seed(0))
    noise = TrainingNoise(3, torch.arange(4))
    real = torch.ones_like(tokens, dtype=torch.bool)
    return training_loss(model, tokens, real, None, TrainingObjective(**settings), noise, counts=counts)


@pytest.mark.parametrize("kind", ["none", "continuous", "discrete"])
def test_a_term_is_added_with_its_weight(stirred_model, kind):
    model = stirred_model(kind)
    names = {"log_partition": 0.25} if kind == "none" else {"log_partition": 0.25, "latent_size": 2.0}
    plain, more = losses(model), losses(model, extra_loss_terms=names)
    expected = plain.total + sum(weight * more.parts[name] for name, weight in names.items())
    torch.testing.assert_close(more.total, expected)
    assert set(more.parts) - set(plain.parts) == set(names)
    rows = more.evaluation.logits.logsumexp(-1).square()
    torch.testing.assert_close(more.parts["log_partition"], rows.sum().detach() / 48)


def test_it_has_the_gradient_of_its_sum(stirred_model):
    model = stirred_model("none")
    gradients = []
    for settings in ({}, {"extra_loss_terms": {"log_partition": 0.5}}):
        model.zero_grad()
        losses(model, **settings).total.backward()
        gradients.append(model.get_input_embeddings().weight.grad.clone())
    model.zero_grad()
    parts = losses(model)
    (0.5 * parts.evaluation.logits.logsumexp(-1).square().sum() / 48).backward()
    torch.testing.assert_close(
        gradients[1] - gradients[0], model.get_input_embeddings().weight.grad, atol=1e-6, rtol=1e-4
    )


def test_it_is_divided_by_what_the_whole_step_scores(stirred_model):
    model, counts = stirred_model("none"), StepCounts(*(torch.tensor(480.0) for _ in dataclasses.fields(StepCounts)))
    settings = {"extra_loss_terms": {"log_partition": 1.0}}
    alone, of_ten = losses(model, **settings), losses(model, counts, **settings)
    torch.testing.assert_close(alone.parts["log_partition"], 10 * of_ten.parts["log_partition"])


def test_a_term_without_weight_is_logged_and_not_trained(stirred_model):
    model = stirred_model("none")
    off = losses(model, extra_loss_terms={"log_partition": 0.0})
    assert "log_partition" in off.parts
    torch.testing.assert_close(off.total, losses(model).total)


@pytest.mark.parametrize(
    ("given", "said"), [({"none": 1.0}, "unknown"), ({"log_partition": -1}, "weight of 0"), (["a"], "mapping")]
)
def test_what_is_no_term_or_weight_is_refused(given, said):
    with pytest.raises(ValueError, match=said):
        TrainingObjective(extra_loss_terms=given)


@pytest.mark.parametrize("name", ["token_loss", "contrastive_loss", "grad_norm", "loss"])
def test_it_takes_no_name_that_a_term_or_a_log_has(name):
    with pytest.raises(ValueError, match="choose another name"):
        register_loss_term(name, log_partition)
