"""The trainer's evaluation gives the bound with latents averaged out beside the plain one, and its card tells it."""

from __future__ import annotations

import re

import pytest
import torch
from helpers.training import texts
from torch import nn

from ladd_hf import RowGenerator

HELD_OUT = texts(10, seed=3)


@pytest.mark.parametrize("kind", ["none", "discrete", "continuous"])
def test_it_is_the_models_and_does_not_depend_on_the_batch(kind, make_trainer):
    options = {"eval_data": HELD_OUT, "nelbo_paths": ["sequential", "joint"], "nelbo_proposals": 6, "nelbo_run": 3}
    trainer = make_trainer(kind, "one", per_device_eval_batch_size=10, **options)
    found = trainer.evaluate()
    others = make_trainer(trainer.model, "two", per_device_eval_batch_size=3, **options).evaluate()
    tokens = torch.stack([row["input_ids"] for row in HELD_OUT])
    for path in options["nelbo_paths"]:
        random = RowGenerator.from_content(trainer.args.seed, tokens)
        bound = trainer.model.nelbo(tokens, path=path, run=3, num_proposals=6, generator=random)
        assert found[f"eval_{path}_marginal_nelbo"] == pytest.approx(bound.nats_per_token, rel=1e-6)
        assert found[f"eval_{path}_marginal_stderr"] == pytest.approx(bound.nats_per_token_stderr, rel=1e-6)
        for name in (f"eval_{path}_marginal_nelbo", f"eval_{path}_nelbo"):
            assert others[name] == pytest.approx(found[name], rel=1e-6)


@pytest.mark.parametrize("kind", ["discrete", "continuous"])
def test_its_proposals_have_the_width_that_is_asked_for(kind, make_trainer):
    options = {"eval_data": HELD_OUT, "nelbo_proposals": 6, "nelbo_run": 3}
    trainer = make_trainer(kind, nelbo_proposal_width=0.75, **options)
    tokens = torch.stack([row["input_ids"] for row in HELD_OUT])
    random = RowGenerator.from_content(trainer.args.seed, tokens)
    bound = trainer.model.nelbo(tokens, path="joint", run=3, num_proposals=6, proposal_width=0.75, generator=random)
    assert trainer.evaluate()["eval_joint_marginal_nelbo"] == pytest.approx(bound.nats_per_token, rel=1e-6)
    assert "(6 proposals of width 0.75, runs of 3 evaluations)" in trainer.model_card().text


def test_noise_that_continuous_latents_cannot_keep_is_refused_before_training(make_trainer):
    with pytest.raises(ValueError, match="Latents cannot keep noise of 1e-06"):
        make_trainer("continuous", nelbo_proposals=2, nelbo_proposal_width=1e-6)


def test_without_proposals_there_is_none(make_trainer):
    trainer = make_trainer("discrete", eval_data=HELD_OUT)
    assert not [name for name in trainer.evaluate() if "marginal" in name]
    assert "averaged out" not in trainer.model_card().text


def test_the_card_tells_it(make_trainer):
    trainer = make_trainer("discrete", eval_data=HELD_OUT, nelbo_proposals=4, nelbo_run=2)
    found = trainer.evaluate()
    told = re.search(r"averaged out \((.*)\) the bound is (\S+) ± (\S+) along joint\.", trainer.model_card().text)
    assert told[1] == "4 proposals, runs of 2 evaluations"
    assert float(told[2]) == pytest.approx(found["eval_joint_marginal_nelbo"], abs=6e-5)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"nelbo_proposals": -1}, "`nelbo_proposals` is -1"),
        ({"nelbo_proposals": 2, "nelbo_run": 0}, "`nelbo_run` is 0"),
        ({"nelbo_proposals": 2, "nelbo_proposal_width": 0}, "`nelbo_proposal_width` is 0"),
        ({"nelbo_proposal_width": 0.5}, "give `nelbo_proposals` as well"),
        ({"nelbo_proposals": 2, "nelbo_paths": ["tokens"]}, "with the latents given"),
        ({"nelbo_proposals": 2, "nelbo_run": 1, "nelbo_paths": ["sequential"]}, "`nelbo_run` is 1, along 'sequential'"),
    ],
)
def test_what_cannot_work_is_refused_at_once(options, message, make_trainer):
    with pytest.raises(ValueError, match=re.escape(message)):
        make_trainer("discrete", **options)


def test_an_evaluation_of_a_run_in_mixed_precision_multiplies_in_it(make_trainer):
    trainer = make_trainer("discrete", eval_data=HELD_OUT, bf16=True)
    seen = set()
    layer = next(one for one in trainer.model.model.modules() if isinstance(one, nn.Linear))
    layer.register_forward_hook(lambda module, inputs, output: seen.add(output.dtype))
    assert trainer.evaluate()["eval_loss"] > 0
    assert seen == {torch.bfloat16}


@pytest.mark.parametrize(
    ("kind", "options", "message"),
    [
        ("discrete", {"num_proposals": 4}, "give `run`, a number of steps or its points"),
        ("discrete", {"proposal_width": 0.5}, "give `num_proposals`, their number"),
        ("discrete", {"run": 2, "num_proposals": 0}, "`num_proposals` is 0"),
        ("discrete", {"run": 2, "num_proposals": 2, "proposal_width": -1.0}, "`proposal_width` is -1.0"),
        ("discrete", {"run": [[1, 0], [0, 0]], "num_proposals": 2}, "with the latents given"),
        ("continuous", {"run": 2, "num_proposals": 2, "proposal_width": 1e-6}, "Latents cannot keep noise of 1e-06"),
    ],
)
def test_a_model_refuses_what_is_no_marginalised_bound(kind, options, message, tiny_model):
    tokens = torch.stack([row["input_ids"] for row in HELD_OUT])
    with pytest.raises(ValueError, match=re.escape(message)):
        tiny_model(kind).nelbo(tokens, **options)
