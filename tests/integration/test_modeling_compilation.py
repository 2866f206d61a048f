"""Compiled models: one graph, which serves every step, and the same numbers."""

from __future__ import annotations

import pytest
import torch
from helpers.model_calls import KINDS
from helpers.sampling import SCHEDULERS, seeded

from ladd_hf import LaddPipeline, TrainingNoise


class Counter:
    """A backend that runs a graph as it is, and counts how many it was given."""

    def __init__(self):
        self.graphs = 0

    def __call__(self, graph, inputs):
        self.graphs += 1
        return graph.forward


@pytest.fixture
def compiled():
    """`compiled(model)`: the model in one graph, and the count of graphs."""
    torch._dynamo.reset()

    def compiled(model):
        counter = Counter()
        return torch.compile(model, fullgraph=True, backend=counter), counter

    yield compiled
    torch._dynamo.reset()


def quiet(model, scheduler):
    pipe = LaddPipeline(model, SCHEDULERS[scheduler]())
    pipe.set_progress_bar_config(disable=True)
    return pipe


@pytest.mark.parametrize("kind", [kind for kind in KINDS if not kind.startswith("separate")])
def test_one_graph_serves_all_steps(kind, stirred_model, compiled):
    model = stirred_model(kind)
    expected = quiet(model, "joint")(num_steps=6, batch_size=3, generator=seeded()).sequences
    faster, counter = compiled(model)
    pipe = quiet(faster, "joint")
    for _ in range(2):
        assert torch.equal(pipe(num_steps=6, batch_size=3, generator=seeded()).sequences, expected)
    assert counter.graphs == 1 + (kind == "alone"), "whose first step has a call without tokens"


def test_of_two_networks_each_has_a_graph(stirred_model, compiled):
    model = stirred_model("separate")
    expected = quiet(model, "sequential")(num_steps=6, batch_size=3, generator=seeded()).sequences
    faster, counter = compiled(model)
    pipe = quiet(faster, "sequential")
    for _ in range(2):
        assert torch.equal(pipe(num_steps=6, batch_size=3, generator=seeded()).sequences, expected)
    assert counter.graphs == 2


# a learned codebook breaks graphs in its library's code, as of vector-quantize-pytorch 1.32.0
@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "vector"])
@pytest.mark.parametrize("padded", [False, True])
def test_training_is_one_graph_with_the_same_gradients(padded, kind, stirred_model, compiled):
    tokens = torch.randint(1, 10, (4, 12), generator=seeded())
    mask = {"attention_mask": (torch.arange(12) < torch.tensor([12, 9, 6, 4])[:, None]).long()} if padded else {}
    gradients, graphs = [], 0
    for wrap in (lambda model: (model, None), compiled):
        model = stirred_model(kind).train()
        runner, counter = wrap(model)
        for step in range(2):
            model.zero_grad()
            noise = TrainingNoise(0, torch.arange(4) + 4 * step)
            runner(tokens, labels=tokens, **mask, noise=noise, loss_only=True).loss.backward()
        gradients.append({name: p.grad for name, p in model.named_parameters() if p.grad is not None})
        graphs = counter.graphs if counter else 0
    assert graphs == 1 and gradients[0].keys() == gradients[1].keys()
    for name, gradient in gradients[0].items():
        torch.testing.assert_close(gradients[1][name], gradient, atol=1e-6, rtol=1e-5)
