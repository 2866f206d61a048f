"""A quantiser turns vectors into codes and back, lets the gradient through, and learns only when it is told to."""

from __future__ import annotations

import copy

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch.nn import functional as F

from ladd_hf import LaddForDiffusionLM, RowGenerator
from ladd_hf.models.quantizers.finite_scalar import FiniteScalarQuantizer
from ladd_hf.models.quantizers.gumbel import GumbelQuantizer
from ladd_hf.models.quantizers.vector_quantizer import VectorQuantizer

KINDS = {"discrete": FiniteScalarQuantizer, "vector": VectorQuantizer, "gumbel": GumbelQuantizer}


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


@pytest.fixture
def make_quantizer(tiny_model):
    """`make_quantizer(kind, **overrides)`: the quantiser of a fresh model, in training mode."""
    return lambda kind, **overrides: tiny_model(kind, **overrides).quantizer.train()


def learned(quantizer):
    """After its first batch, which is where a learned codebook starts."""
    quantizer(2 * torch.randn(16, 4, 3), False)
    return quantizer


def state_of(quantizer):
    return copy.deepcopy(quantizer.state_dict())


def assert_same(before, after):
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)


# --- what all of them promise ---


@pytest.mark.parametrize("kind", KINDS)
def test_a_kind_is_chosen_by_name(kind, make_quantizer):
    quantizer = make_quantizer(kind)
    assert type(quantizer) is KINDS[kind]


@pytest.mark.parametrize("frozen", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_codes_are_in_range_and_stand_for_the_vectors(kind, frozen, make_quantizer, tiny_config):
    quantizer = learned(make_quantizer(kind))
    quantizer.train(not frozen)
    book = copy.deepcopy(quantizer)  # as it is when the codes are chosen
    quantized = quantizer(2 * torch.randn(16, 4, 3), frozen)
    assert quantized.codes.shape == (16, 4) and quantized.codes.dtype == torch.int64
    assert quantized.codes.min() >= 0 and quantized.codes.max() < tiny_config(kind).codebook_size
    assert quantized.codes.unique().numel() > 1
    torch.testing.assert_close(book.codes_to_vectors(quantized.codes), quantized.vectors, atol=1e-5, rtol=0)


@pytest.mark.parametrize("kind", KINDS)
def test_every_code_has_a_vector_of_its_own(kind, make_quantizer, tiny_config):
    quantizer = learned(make_quantizer(kind)).eval()
    codes = torch.arange(tiny_config(kind).codebook_size)
    vectors = quantizer.codes_to_vectors(codes[None])[0]
    assert vectors.shape == (len(codes), 3)
    assert (torch.cdist(vectors, vectors) + torch.eye(len(codes))).min() > 1e-3


@pytest.mark.parametrize("kind", KINDS)
def test_the_gradient_reaches_the_encoder_through_the_codes(kind, make_quantizer):
    quantizer = learned(make_quantizer(kind))
    latents = torch.randn(16, 4, 3, requires_grad=True)
    (quantizer(latents, False).vectors * torch.randn(16, 4, 3)).sum().backward()
    assert latents.grad.isfinite().all()
    assert latents.grad.abs().amax(-1).min() > 0, "every latent gets one"


@pytest.mark.parametrize("kind", KINDS)
def test_evaluation_changes_nothing_and_is_the_same_twice(kind, make_quantizer):
    quantizer = learned(make_quantizer(kind)).eval()
    latents, before = torch.randn(16, 4, 3), state_of(quantizer)
    first, second = (quantizer(latents, False) for _ in range(2))
    assert_same(before, state_of(quantizer))
    assert torch.equal(first.codes, second.codes) and torch.equal(first.vectors, second.vectors)


@pytest.mark.parametrize("kind", KINDS)
def test_a_frozen_quantiser_does_not_move_in_training(kind, make_quantizer):
    quantizer = learned(make_quantizer(kind))
    latents, before = torch.randn(16, 4, 3), state_of(quantizer)
    codes = [quantizer(latents, True, RowGenerator(torch.arange(16) + draw)).codes for draw in (0, 100)]
    assert_same(before, state_of(quantizer))
    assert torch.equal(*codes)


@pytest.mark.parametrize("kind", KINDS)
def test_a_row_has_the_codes_it_has_alone(kind, make_quantizer):
    quantizer = learned(make_quantizer(kind)).eval()
    latents = torch.randn(6, 4, 3)
    together = quantizer(latents, False).codes
    assert all(torch.equal(together[row : row + 1], quantizer(latents[row : row + 1], False).codes) for row in range(6))


@pytest.mark.parametrize("kind", KINDS)
def test_quantisers_keep_the_dtype_of_the_latents(kind, make_quantizer):
    quantizer = learned(make_quantizer(kind)).bfloat16()
    quantized = quantizer(torch.randn(2, 4, 3, dtype=torch.bfloat16), False)
    assert quantized.vectors.dtype == torch.bfloat16 and quantized.codes.dtype == torch.int64


# --- loading: a model is built on the meta device, where buffers are lost ---


@pytest.mark.parametrize("kind", KINDS)
def test_a_loaded_quantiser_is_the_saved_one(kind, tiny_model, tmp_path):
    model = tiny_model(kind)
    learned(model.quantizer.train()).eval()
    model.save_pretrained(tmp_path)
    loaded = LaddForDiffusionLM.from_pretrained(tmp_path).quantizer
    buffers = dict(loaded.named_buffers())
    for name, buffer in model.quantizer.named_buffers():  # those that are not saved, too
        assert torch.equal(buffers[name], buffer), name
    latents = torch.randn(8, 4, 3)
    before, after = model.quantizer(latents, False), loaded.eval()(latents, False)
    assert torch.equal(before.codes, after.codes) and torch.equal(before.vectors, after.vectors)
    assert torch.equal(loaded.codes_to_vectors(after.codes), model.quantizer.codes_to_vectors(before.codes))


def test_a_codebook_loaded_before_its_first_batch_still_starts_by_k_means(tiny_model, tmp_path):
    tiny_model("vector").save_pretrained(tmp_path)
    loaded = LaddForDiffusionLM.from_pretrained(tmp_path).quantizer.train()
    book = loaded.quantize._codebook
    assert not book.initted and not book.embed.any()
    learned(loaded)
    assert book.initted
    torch.testing.assert_close(book.embed.norm(dim=-1), torch.ones(1, 8))


@pytest.mark.parametrize("kind", [*KINDS, "no k-means"])
def test_a_quantiser_missing_from_a_checkpoint_starts_fresh(kind, tiny_model, tmp_path):
    overrides = {"quantizer_kmeans_init": False} if kind == "no k-means" else {}
    kind = "vector" if overrides else kind
    tiny_model(kind, **overrides).save_pretrained(tmp_path)
    weights = load_file(tmp_path / "model.safetensors")
    kept = {name: weight for name, weight in weights.items() if not name.startswith("quantizer")}
    assert len(kept) < len(weights)
    save_file(kept, tmp_path / "model.safetensors", metadata={"format": "pt"})
    loaded, info = LaddForDiffusionLM.from_pretrained(tmp_path, output_loading_info=True)
    assert info["missing_keys"] and all(name.startswith("quantizer.") for name in info["missing_keys"])
    quantizer = loaded.quantizer.train()
    assert all(buffer.float().isfinite().all() for buffer in quantizer.state_dict().values())
    if kind == "vector":
        assert bool(quantizer.quantize._codebook.initted) == bool(overrides)
    quantized = quantizer(2 * torch.randn(16, 4, 3), False)
    assert quantized.vectors.isfinite().all() and quantized.codes.unique().numel() > 1


# --- the learned codebook ---


def test_the_learned_codebook_starts_by_k_means_on_the_first_batch(make_quantizer):
    quantizer = make_quantizer("vector")
    centres = F.normalize(torch.randn(8, 3), dim=-1)
    latents = centres[torch.randint(8, (64, 4))] + 0.01 * torch.randn(64, 4, 3)
    quantizer(latents, False)
    book = quantizer.quantize._codebook.embed[0]
    assert (centres @ book.T).amax(1).mean() > 0.9, "codes lie where the data are"


def test_the_nearest_code_is_the_one_of_the_smallest_angle(make_quantizer):
    quantizer = learned(make_quantizer("vector")).eval()
    latents = torch.randn(16, 4, 3)
    angles = F.normalize(latents, dim=-1) @ quantizer.quantize._codebook.embed[0].T
    assert torch.equal(quantizer(latents, False).codes, angles.argmax(-1))
    assert torch.equal(quantizer(7 * latents, False).codes, angles.argmax(-1))


def test_the_learned_codebook_follows_its_vectors_as_an_average(make_quantizer):
    quantizer = learned(make_quantizer("vector", quantizer_decay=0.8, quantizer_dead_code_threshold=0))
    book = quantizer.quantize._codebook
    latents, sums, sizes = torch.randn(16, 4, 3), book.embed_avg[0].clone(), book.cluster_size[0].clone()
    codes = quantizer(latents, False).codes.flatten()
    chosen = F.one_hot(codes, 8).float()
    sums = 0.8 * sums + 0.2 * chosen.T @ F.normalize(latents, dim=-1).flatten(0, 1)
    torch.testing.assert_close(book.cluster_size[0], 0.8 * sizes + 0.2 * chosen.sum(0))
    torch.testing.assert_close(book.embed[0], F.normalize(sums, dim=-1), atol=1e-5, rtol=0)


def test_codes_that_die_are_moved_to_where_the_data_are(make_quantizer):
    quantizer = learned(make_quantizer("vector", quantizer_dead_code_threshold=2))
    direction = F.normalize(torch.tensor([1.0, 2.0, 3.0]), dim=0)
    for _ in range(80):
        quantizer(direction + 0.1 * torch.randn(16, 4, 3), False)
    assert (quantizer.quantize._codebook.embed[0] @ direction).min() > 0.9


def test_the_commitment_loss_draws_the_encoder_to_its_code(make_quantizer):
    quantizer = learned(make_quantizer("vector", quantizer_commitment_weight=0.5))
    book = copy.deepcopy(quantizer)
    latents = torch.randn(16, 4, 3, requires_grad=True)
    quantized = quantizer(latents, False)
    directions = F.normalize(latents, dim=-1)
    distance = (directions - book.codes_to_vectors(quantized.codes)).square().mean()
    torch.testing.assert_close(quantized.loss, 0.5 * distance)
    (gradient,) = torch.autograd.grad(quantized.loss, latents)
    closer = F.normalize(latents - 0.1 * gradient / gradient.abs().max(), dim=-1)
    assert (closer - book.codes_to_vectors(quantized.codes)).square().mean() < distance


@pytest.mark.parametrize("mode", ["evaluation", "frozen"])
def test_an_untrained_codebook_does_not_start_on_what_it_shall_not_learn_from(mode, make_quantizer):
    quantizer = make_quantizer("vector").train(mode == "frozen")
    before = state_of(quantizer)
    quantizer(torch.randn(16, 4, 3), mode == "frozen")
    assert_same(before, state_of(quantizer))


# --- before the choice ---


@pytest.mark.parametrize("kind", KINDS)
def test_unquantised_latents_have_a_gradient_of_their_own(kind, make_quantizer):
    quantizer = learned(make_quantizer(kind))
    latents = torch.randn(16, 4, 3, requires_grad=True)
    quantized = quantizer(latents, False)
    assert quantized.unquantized.shape == quantized.vectors.shape
    (gradient,) = torch.autograd.grad((quantized.unquantized * torch.randn(16, 4, 3)).sum(), latents)
    assert gradient.isfinite().all() and gradient.abs().amax(-1).min() > 0


def test_unquantised_scalars_round_to_the_codes_vectors(make_quantizer):
    quantizer = make_quantizer("discrete", quantizer_levels=[3, 4, 5], codebook_size=60)
    quantized = quantizer(3 * torch.randn(500, 4, 3), False)
    half_width = torch.tensor([3, 4, 5]) // 2
    torch.testing.assert_close((quantized.unquantized * half_width).round() / half_width, quantized.vectors)
    assert (quantized.unquantized - quantized.vectors).abs().max() > 0.1


def test_unquantised_directions_are_nearest_to_the_codes_vectors(make_quantizer):
    quantizer = learned(make_quantizer("vector"))
    book = copy.deepcopy(quantizer)
    quantized = quantizer(torch.randn(16, 4, 3), False)
    vectors = book.codes_to_vectors(torch.arange(8)[None])[0]
    torch.testing.assert_close(quantized.unquantized.norm(dim=-1), torch.ones(16, 4))
    assert torch.equal(torch.cdist(quantized.unquantized.flatten(0, 1), vectors).argmin(1), quantized.codes.flatten())


def test_an_undecided_gumbel_choice_becomes_the_decided_one_as_it_cools(make_quantizer):
    latents = torch.randn(16, 4, 3)
    cold = make_quantizer("gumbel", quantizer_temperature=1e-6)(latents, False)
    torch.testing.assert_close(cold.unquantized, cold.vectors, atol=1e-4, rtol=0)
    warm = make_quantizer("gumbel", quantizer_temperature=1.0)(latents, False)
    assert torch.equal(cold.codes, warm.codes)
    assert (warm.unquantized - warm.vectors).abs().max() > 0.1


# --- finite scalars and Gumbel-softmax ---


def test_finite_scalars_have_a_code_for_each_combination_of_levels(make_quantizer):
    quantizer = make_quantizer("discrete", quantizer_levels=[3, 4, 5], codebook_size=60)
    assert quantizer(3 * torch.randn(2000, 4, 3), False).codes.unique().numel() == 60


def test_gumbel_without_randomness_takes_the_likeliest_code(make_quantizer):
    quantizer, latents = make_quantizer("gumbel"), torch.randn(16, 4, 3)
    likeliest = quantizer.code_logits(latents).argmax(-1)
    assert torch.equal(quantizer(latents, False).codes, likeliest)
    random = RowGenerator(torch.arange(16))
    assert not torch.equal(quantizer(latents, False, random).codes, likeliest)
    assert torch.equal(quantizer(latents, True, random).codes, likeliest)
    assert torch.equal(quantizer.eval()(latents, False, random).codes, likeliest)


def test_gumbel_draws_codes_with_the_probabilities_of_the_softmax(make_quantizer):
    quantizer = make_quantizer("gumbel")
    latents, number = torch.randn(1, 1, 3), 20_000
    codes = quantizer(latents.expand(number, -1, -1), False, RowGenerator(torch.arange(number))).codes
    expected = quantizer.code_logits(latents)[0, 0].softmax(-1)
    drawn = codes.flatten().bincount(minlength=8) / number
    assert ((drawn - expected).abs() < 5 * (expected * (1 - expected) / number).sqrt()).all()


def test_gumbel_has_the_gradient_of_the_softmax_at_its_temperature(make_quantizer):
    quantizer = make_quantizer("gumbel", quantizer_temperature=0.7)
    latents = torch.randn(4, 4, 3, requires_grad=True)
    target = torch.randn(4, 4, 3)
    (straight,) = torch.autograd.grad((quantizer(latents, False).vectors * target).sum(), latents)
    soft = (quantizer.code_logits(latents) / 0.7).softmax(-1) @ quantizer.codebook.weight
    (expected,) = torch.autograd.grad((soft * target).sum(), latents)
    torch.testing.assert_close(straight, expected, atol=1e-6, rtol=1e-4)


@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
@pytest.mark.parametrize("kind", KINDS)
def test_no_code_stands_for_what_is_no_number(value, kind, make_quantizer):
    quantizer = learned(make_quantizer(kind))
    latents = torch.randn(2, 4, 3)
    latents[1, 2, 0] = value
    quantized = quantizer(latents, True)
    assert quantized.codes.min() >= 0 and quantized.codes.max() < 9, "no device is made to read beyond its tables"
    assert quantized.loss.isnan(), "and training stops"


@pytest.mark.parametrize("kind", [*KINDS, "continuous", "separate"])
def test_latents_that_are_no_numbers_are_refused_where_they_are_asked_for(kind, tiny_model):
    model, tokens = tiny_model(kind), torch.randint(1, 10, (3, 12))
    assert model.encode_latents(tokens).shape[:2] == (3, 4)
    with torch.no_grad():
        model.encoder.embed_tokens.weight[7] = torch.nan
    tokens = torch.where(tokens == 7, 1, tokens)
    tokens[1, 3] = 7
    for ask in (model.encode_latents, model.nelbo):
        with pytest.raises(ValueError, match="nan or infinity for text 1 of the batch"):
            ask(tokens)
    if kind in KINDS:
        assert not model(tokens, labels=tokens, loss_only=True).loss.isfinite(), "in training the loss says so"
