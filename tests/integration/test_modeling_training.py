"""The model's loss and bound score what they should, and weights learn where they should: the encoder's, too."""

from __future__ import annotations

import copy
import re

import pytest
import torch
from helpers.model_calls import (
    EVERYTHING,
    KINDS,
    LATENT_KINDS,
    MASK,
    call,
    gradients,
    loss_of,
    noised,
    some_latents,
    some_tokens,
)

from ladd_hf import RowGenerator, TimePath, TrainingNoise, TrainingObjective

pytestmark = pytest.mark.usefixtures("torch_seed")


# --- the loss ---


@pytest.mark.parametrize("kind", KINDS)
def test_with_labels_the_loss_comes_beside_the_logits_of_the_given_ids(kind, stirred_model):
    model = stirred_model(kind)
    clean, latents = some_tokens(), some_latents(model)
    given = noised(clean)
    noise = TrainingNoise(0, torch.arange(2))
    output = call(model, given, latents=latents, labels=clean, noise=noise)
    assert torch.equal(output.logits, call(model, given, latents=latents).logits)
    assert output.loss.ndim == 0 and torch.equal(output.loss, loss_of(model, clean).loss)
    assert loss_of(model, clean).logits is None
    assert "token_loss" in output.loss_parts and all(not part.requires_grad for part in output.loss_parts.values())


@pytest.mark.parametrize("kind", KINDS)
def test_with_labels_alone_the_network_runs_once_and_gives_what_the_loss_was_made_of(kind, stirred_model):
    model, tokens, calls = stirred_model(kind), some_tokens(), []
    hook = model.model.register_forward_hook(lambda *_: calls.append(1))
    output = model(tokens, labels=tokens, noise=TrainingNoise(0, torch.arange(2)))
    hook.remove()
    assert len(calls) == 1 + (kind == "alone") and torch.equal(output.loss, loss_of(model, tokens).loss)
    written = tokens.flatten()[output.logits_positions]
    cross_entropy = torch.nn.functional.cross_entropy(output.logits, written, reduction="sum")
    torch.testing.assert_close(output.loss_parts["token_loss"], (cross_entropy / tokens.numel()).detach())


def test_the_loss_is_drawn_from_the_global_generator_unless_given_noise(stirred_model):
    model, tokens = stirred_model("none"), some_tokens()
    torch.manual_seed(3)
    one, other = (model(tokens, labels=tokens).loss for _ in range(2))
    torch.manual_seed(3)
    assert torch.equal(model(tokens, labels=tokens).loss, one) and not torch.equal(one, other)


@pytest.mark.parametrize("kind", ["none", "continuous", "discrete"])
def test_padding_contributes_nothing_to_loss_or_gradient(kind, stirred_model):
    model = stirred_model(kind).train()
    tokens = some_tokens(4)
    attention_mask = (torch.arange(12) < torch.tensor([12, 7, 5, 9])[:, None]).long()
    changed = torch.where(attention_mask.bool(), tokens, tokens % 9 + 1)
    one, other = (loss_of(model, t, attention_mask=attention_mask, objective=EVERYTHING) for t in (tokens, changed))
    assert torch.equal(one.loss, other.loss)
    before, after = gradients(model, one.loss), gradients(model, other.loss)
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert not torch.equal(loss_of(model, tokens).loss, loss_of(model, changed).loss), "without a mask it does"


def test_ignored_labels_are_context_that_is_neither_noised_nor_scored(stirred_model, monkeypatch):
    model = stirred_model("none")
    tokens = some_tokens(4)
    labels = tokens.clone()
    labels[:, :5] = -100
    seen = []
    denoise = model.denoise
    monkeypatch.setattr(
        model, "denoise", lambda ids, *a, **k: seen.append((ids, k["logits_mask"])) or denoise(ids, *a, **k)
    )
    objective = TrainingObjective(fully_masked_share=1.0)
    loss = loss_of(model, tokens, labels=labels, objective=objective).loss
    ((noisy, scored),) = seen
    assert torch.equal(noisy[:, :5], tokens[:, :5]) and (noisy[:, 5:] == MASK).all()
    assert not scored[:, :5].any() and scored[:, 5:].all()
    logits = denoise(noisy).logits[:, 5:]
    expected = torch.nn.functional.cross_entropy(logits.flatten(0, 1), tokens[:, 5:].flatten())
    torch.testing.assert_close(loss, expected)


@pytest.mark.parametrize("kind", ["none", "discrete"])
def test_a_row_of_ignored_labels_changes_nothing(kind, stirred_model):
    model = stirred_model(kind)
    tokens = some_tokens(3)
    labels = tokens.clone()
    labels[2] = -100
    objective = TrainingObjective(latent_loss_weight=0.0)
    noise = [TrainingNoise(0, torch.arange(rows)) for rows in (2, 3)]
    two = loss_of(model, tokens[:2], noise=noise[0], objective=objective)
    three = loss_of(model, tokens, labels=labels, noise=noise[1], objective=objective)
    torch.testing.assert_close(two.loss, three.loss)


@pytest.mark.parametrize("kind", KINDS)
def test_every_weight_learns(kind, stirred_model):
    model = stirred_model(kind).train()
    found = gradients(model, loss_of(model, some_tokens(8)).loss)
    assert {name for name, _ in model.named_parameters() if name not in found or not found[name].any()} == set()


@pytest.mark.parametrize("kind", ["continuous", "discrete"])
def test_what_predicts_latents_gets_no_gradient_while_their_loss_has_no_weight(kind, stirred_model):
    """Not even one of zeros, which would teach Adam that its first steps in stage 2 may be large."""
    model = stirred_model(kind).train()
    objective = TrainingObjective(time_distribution="tokens", latent_loss_weight=0.0)
    found = gradients(model, loss_of(model, some_tokens(), objective=objective).loss)
    idle = dict(model.named_parameters()).keys() - found.keys()
    assert any(name.startswith(("latent_head", "latent_denoiser")) for name in idle) == (kind != "none")
    assert all(name.startswith(("latent_head", "latent_denoiser", "model.blocks.1.streams.latent")) for name in idle)


@pytest.mark.parametrize("kind", LATENT_KINDS)
def test_the_token_loss_teaches_the_encoder(kind, stirred_model):
    model = stirred_model(kind).train()
    objective = TrainingObjective(latent_loss_weight=0.0, time_distribution="tokens")
    found = gradients(model, loss_of(model, some_tokens(8), objective=objective).loss)
    assert all(found[name].any() for name, _ in model.named_parameters() if name.startswith("encoder."))


def test_the_two_views_of_the_contrastive_loss_do_not_move_the_codebook(stirred_model):
    objective = TrainingObjective(contrastive_weight=1.0)
    books = []
    for tried in (objective, TrainingObjective()):
        model = stirred_model("vector").train()
        loss_of(model, some_tokens(), objective=tried)
        books.append(model.quantizer.quantize._codebook.embed_avg.clone())
    assert torch.equal(*books)


def test_a_frozen_encoder_has_no_dropout_in_training(stirred_model):
    model = stirred_model("continuous", attention_dropout=0.5, attn_implementation="eager").train()
    tokens = some_tokens()
    free = [model.encode(tokens).vectors for _ in range(2)]
    model.freeze_latent_encoder()
    assert model.training and not model.encoder.training
    model.train()
    frozen = [model.encode(tokens).vectors for _ in range(2)]
    assert torch.equal(*frozen) and not torch.equal(*free)
    model.freeze_latent_encoder(False)
    assert model.encoder.training


@pytest.mark.parametrize("predicts", ["sample", "epsilon"])
def test_the_latent_target_has_a_gradient_only_where_asked_for(predicts, stirred_model):
    """At equal noise and visible tokens, only the target can tell the encoder anything when the prediction is fixed."""
    found = {}
    for asked in (False, True):
        model = stirred_model("continuous", latent_denoiser="separate", latent_prediction_type=predicts)
        model.latent_denoiser.forward = lambda latents, *others: torch.zeros_like(latents)
        objective = TrainingObjective(token_loss_weight=0.0, latent_target_gradient=asked)
        loss = loss_of(model, some_tokens(), objective=objective).loss
        found[asked] = loss.requires_grad and any(
            name.startswith("encoder") and grad.any() for name, grad in gradients(model, loss).items()
        )
    assert found == {False: False, True: predicts == "sample"}, "noise is drawn, whatever the latents are"


# --- the encoder ---


@pytest.mark.parametrize("kind", LATENT_KINDS)
def test_encoded_latents_are_what_the_channel_takes(kind, stirred_model):
    model = stirred_model(kind)
    tokens = some_tokens()
    latents = model.encode_latents(tokens)
    model.latent_channel.check(latents, 2, 4)
    assert not latents.requires_grad
    assert call(model, tokens, latents=latents).logits.shape == (2, 12, 11)


@pytest.mark.parametrize("mode", [True, False])
def test_asking_for_latents_or_for_the_bound_teaches_the_codebook_nothing(mode, stirred_model):
    model = stirred_model("vector").train(mode)
    before = copy.deepcopy(model.state_dict())
    model.encode_latents(some_tokens(8))
    model.nelbo(some_tokens(8), num_samples=1)
    assert all(torch.equal(before[name], weight) for name, weight in model.state_dict().items())


@pytest.mark.parametrize("kind", LATENT_KINDS)
def test_a_frozen_encoder_gets_no_gradient_and_a_thawed_one_does(kind, stirred_model):
    model = stirred_model(kind).train()
    mine = [name for name, _ in model.named_parameters() if name.startswith(("encoder.", "quantizer."))]
    state = copy.deepcopy(
        {name: weight for name, weight in model.state_dict().items() if name.startswith("quantizer.")}
    )
    model.freeze_latent_encoder()
    assert not any(weight.requires_grad for name, weight in model.named_parameters() if name in mine)
    found = gradients(model, loss_of(model, some_tokens(8), objective=EVERYTHING).loss)
    assert not found.keys() & set(mine) and found
    assert all(torch.equal(model.state_dict()[name], weight) for name, weight in state.items())
    assert not model.encode(some_tokens()).vectors.requires_grad
    model.freeze_latent_encoder(False)
    assert set(mine) <= gradients(model, loss_of(model, some_tokens(8), objective=EVERYTHING).loss).keys()


def test_freezing_a_model_without_latents_changes_nothing(tiny_model):
    model = tiny_model("none")
    model.freeze_latent_encoder()
    assert all(weight.requires_grad for weight in model.parameters())


def test_a_model_without_latents_has_no_weights_for_them(tiny_model):
    names = [name for name, _ in tiny_model("none").named_parameters()]
    assert not [name for name in names if re.search("latent|encoder|quantizer|mask_vector", name)]
    shared = [name for name, _ in tiny_model("continuous").named_parameters()]
    assert set(names) <= set(shared), "it is the same network without the latent stream"


# --- the bound ---


@pytest.mark.parametrize("path", ["joint", "sequential"])
@pytest.mark.parametrize("kind", KINDS)
def test_the_bound_of_a_row_is_that_of_the_row_alone(kind, path, stirred_model):
    model = stirred_model(kind)
    tokens = some_tokens(3)
    attention_mask = (torch.arange(12) < torch.tensor([12, 7, 9])[:, None]).long()
    generators = [torch.Generator().manual_seed(row) for row in range(3)]
    together = model.nelbo(tokens, attention_mask, path, 2, generators)
    assert together.num_tokens.tolist() == [12, 7, 9]
    for row in range(3):
        one = slice(row, row + 1)
        generator = torch.Generator().manual_seed(row)
        alone = model.nelbo(tokens[one], attention_mask[one], path, 2, [generator])
        for name in ("token_nats", "latent_nats"):
            torch.testing.assert_close(getattr(together, name)[one], getattr(alone, name), atol=1e-4, rtol=1e-4)
    assert (together.latent_nats.abs().sum() > 0) == (kind != "none")


def test_the_bound_takes_no_gradient(stirred_model):
    bound = stirred_model("discrete").nelbo(some_tokens(), generator=RowGenerator(torch.arange(2)))
    assert not bound.total_nats.requires_grad


@pytest.mark.parametrize(
    ("tokens", "options", "said"),
    [
        (torch.full((2, 12), MASK), {}, "hold the mask token"),
        (torch.ones(12, dtype=torch.int64), {}, r"shape \(12,\)"),
        (torch.ones(2, 12, dtype=torch.int64), {"path": 3}, "Path 3 is unknown"),
        (torch.ones(2, 12, dtype=torch.int64), {"path": ["joint"]}, "give corners"),
        (torch.ones(2, 12, dtype=torch.int64), {"run": ["joint"]}, "the points"),
        (torch.ones(2, 12, dtype=torch.int64), {"path": "joint", "run": [(1, 1), (0, 0)]}, "both given"),
        (torch.ones(2, 12, dtype=torch.int64), {"path": TimePath(((1, 0.5), (0, 0)))}, "would be missing"),
        (torch.ones(2, 12, dtype=torch.int64), {"num_samples": 2.5}, "`num_samples` is 2"),
    ],
    ids=[
        "masks",
        "one text",
        "no path",
        "a list of names",
        "no run",
        "a path and a run",
        "half a path",
        "half a sample",
    ],
)
def test_a_bound_that_is_none_is_refused(tokens, options, said, stirred_model):
    with pytest.raises(ValueError, match=said):
        stirred_model("discrete").nelbo(tokens, **options)
