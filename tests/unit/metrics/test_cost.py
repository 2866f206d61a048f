"""The operations of a run are those of its linear layers and its attention, by phase."""

from __future__ import annotations

import pytest
import torch
from helpers.sampling import seeded
from torch import nn

from ladd_hf import LaddJointScheduler, LaddPipeline, LaddScheduler, LaddSequentialScheduler
from ladd_hf.metrics import sampling_cost


def pipe_of(model, scheduler=None):
    pipe = LaddPipeline(model, scheduler)
    pipe.set_progress_bar_config(disable=True)
    return pipe


def test_an_evaluation_costs_what_its_layers_cost(stirred_model):
    """2 S (in out) for each linear map of S positions, and 4 S^2 H for the two products of an attention."""
    model = stirred_model("none")
    config, length = model.config, model.config.max_position_embeddings
    layers = [one for name, one in model.model.named_modules() if isinstance(one, nn.Linear)]
    expected = sum(2 * length * one.in_features * one.out_features for one in layers)
    expected += config.num_hidden_layers * 4 * length**2 * config.hidden_size
    cost = sampling_cost(pipe_of(model), 1)
    assert cost.nfe == 1 and cost.latent_flops == 0
    assert cost.token_flops == pytest.approx(expected)
    assert cost.head_flops == pytest.approx(2 * length * config.hidden_size * config.vocab_size)


@pytest.mark.parametrize("kind", ["discrete", "alone", "continuous", "separate", "separate_codes"])
def test_the_steps_of_the_latents_and_of_the_tokens_are_phases(stirred_model, kind):
    scheduler = LaddSequentialScheduler(latent_share=0.25)
    costs = {n: sampling_cost(pipe_of(stirred_model(kind), scheduler), n, 2, generator=seeded()) for n in (4, 8)}
    assert costs[4].nfe == 4 and costs[4].latent_flops > 0 and costs[4].head_flops > 0
    assert costs[8].latent_flops == 2 * costs[4].latent_flops and costs[8].token_flops == 2 * costs[4].token_flops
    if kind == "alone" or kind.startswith("separate"):  # whose latents are fewer than its tokens, and see none
        assert costs[4].latent_flops < costs[4].token_flops / 3


def test_guidance_doubles_the_tokens_steps_and_nothing_else(stirred_model):
    pipe = pipe_of(stirred_model("discrete"), LaddSequentialScheduler())
    plain, guided = (sampling_cost(pipe, 4, 2, guidance_scale=scale, generator=seeded()) for scale in (1.0, 2.0))
    assert guided.token_flops == pytest.approx(2 * plain.token_flops, rel=0.05)
    assert guided.latent_flops == plain.latent_flops and guided.flops > 1.4 * plain.flops
    assert guided.nfe == plain.nfe == plain.row_evaluations == 4  # one call for each step, guided or not
    assert guided.row_evaluations == 2 + 2 * 2  # both halves of the two steps that write tokens


def test_along_the_diagonal_every_step_is_the_tokens(stirred_model):
    joint, bent = LaddJointScheduler(), LaddScheduler(path=[[1, 1], [1, 0.5], [0, 0]])
    model = stirred_model("discrete")
    along_joint, along_bent = (sampling_cost(pipe_of(model, one), 4, generator=seeded()) for one in (joint, bent))
    assert along_joint.latent_flops == 0 and along_bent.latent_flops == pytest.approx(along_joint.token_flops / 2)


def test_the_model_is_left_as_it_was(stirred_model):
    model = stirred_model("discrete")
    model.model.embed_tokens.weight.requires_grad_(False)
    learnt = {name for name, one in model.named_parameters() if one.requires_grad}
    before = {name: value.clone() for name, value in model.state_dict().items()}
    sampling_cost(pipe_of(model), 2)
    assert {name for name, one in model.named_parameters() if one.requires_grad} == learnt
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
