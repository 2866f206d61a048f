"""The model keeps the denoiser's contract for every kind of latents."""

from __future__ import annotations

import re

import pytest
import torch
from helpers.model_calls import (
    KINDS,
    LATENT_KINDS,
    MASK,
    TIMES,
    WRITTEN,
    call,
    noised,
    some_latents,
    some_tokens,
)

pytestmark = pytest.mark.usefixtures("torch_seed")


# --- the contract ---


@pytest.mark.parametrize("kind", KINDS)
def test_shapes_are_those_of_the_contract(kind, stirred_model):
    model = stirred_model(kind)
    output = call(model, noised(some_tokens()))
    assert output.logits.shape == (2, 12, 11)
    assert output.loss is None and output.loss_parts is None
    if kind == "none":
        assert output.latent_prediction is None
    else:
        size = {"anchors": 6}.get(kind, 3 if model.config.latent_type == "continuous" else model.config.codebook_size)
        assert output.latent_prediction.shape == (2, 4, size)


@pytest.mark.parametrize("kind", KINDS)
def test_the_mask_token_and_padding_are_never_predicted(kind, stirred_model):
    model = stirred_model(kind)
    tokens = noised(some_tokens())
    for output in (call(model, tokens), call(model, tokens, logits_mask=tokens == MASK)):
        assert (output.logits[..., [0, MASK]] == -torch.inf).all(), "padding and mask"
        assert output.logits[..., WRITTEN].isfinite().all()


@pytest.mark.parametrize("kind", KINDS)
def test_logits_at_chosen_places_are_the_full_logits_there_in_row_major_order(kind, stirred_model):
    model = stirred_model(kind)
    tokens, latents = noised(some_tokens()), some_latents(model)
    full = call(model, tokens, latents=latents)
    for chosen in (torch.rand(2, 12) < 0.4, torch.zeros(2, 12, dtype=torch.bool)):
        part = call(model, tokens, latents=latents, logits_mask=chosen)
        assert part.logits.shape == (int(chosen.sum()), 11)
        in_order = torch.stack(
            [full.logits[b, s] for b in range(2) for s in range(12) if chosen[b, s]] or [full.logits[0, 0]]
        )
        torch.testing.assert_close(part.logits, in_order[: len(part.logits)], atol=1e-5, rtol=0)
        if kind != "none":
            assert torch.equal(part.latent_prediction, full.latent_prediction)


@pytest.mark.parametrize("kind", LATENT_KINDS)
def test_without_latents_the_token_stream_is_alone(kind, stirred_model):
    model = stirred_model(kind)
    tokens = noised(some_tokens())
    alone = call(model, tokens, latents=None)
    assert alone.latent_prediction is None and alone.logits.shape == (2, 12, 11)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "streams.latent" in name or "latent_input" in name or "mask_vector" in name:
                weight.add_(1.0)
    assert torch.equal(call(model, tokens, latents=None).logits, alone.logits)
    assert not torch.allclose(call(model, tokens).logits[..., WRITTEN], alone.logits[..., WRITTEN], atol=1e-3)


@pytest.mark.parametrize("kind", LATENT_KINDS)
def test_each_channel_sees_the_other(kind, stirred_model):
    model = stirred_model(kind)
    tokens, latents = noised(some_tokens()), some_latents(model)
    other = latents + 1 if latents.is_floating_point() else (latents + 1) % (model.config.codebook_size + 1)
    before, after = call(model, tokens, latents=latents), call(model, tokens, latents=other)
    assert not torch.allclose(before.logits[..., WRITTEN], after.logits[..., WRITTEN], atol=1e-3)
    changed = call(model, torch.where(tokens == MASK, tokens, tokens % 9 + 1), latents=latents)
    sees = not torch.allclose(changed.latent_prediction, before.latent_prediction, atol=1e-4)
    assert sees != kind.startswith("separate"), "a latent denoiser of its own has no tokens in it"


@pytest.mark.parametrize("kind", ["discrete", "vector", "gumbel"])
def test_a_visible_code_enters_as_its_vector_and_a_masked_one_as_a_learned_vector(kind, stirred_model):
    model = stirred_model(kind)
    codes = torch.tensor([[0, 3, model.config.latent_mask_code, 5]])
    vectors = model._latent_vectors(codes, None)[0]
    book = model.quantizer.codes_to_vectors(torch.tensor([[0, 3, 5]]))[0]
    torch.testing.assert_close(vectors[[0, 1, 3]], book)
    assert torch.equal(vectors[2], model.model.mask_vector)
    given = torch.randn(1, 4, 3)
    assert torch.equal(model._latent_vectors(codes, given)[0, [0, 1, 3]], given[0, [0, 1, 3]])
    assert torch.equal(model._latent_vectors(codes, given)[0, 2], model.model.mask_vector)


def test_latents_can_be_denoised_without_tokens_by_a_denoiser_of_their_own(stirred_model):
    model = stirred_model("separate")
    latents, tokens = torch.randn(2, 4, 3), some_tokens()
    alone = model(None, latents, latent_timesteps=TIMES)
    assert alone.logits is None
    together = model(tokens, latents, latent_timesteps=TIMES)
    assert torch.equal(alone.latent_prediction, together.latent_prediction)
    with pytest.raises(ValueError, match="or one that `skips_masked_tokens`, runs on latents alone"):
        stirred_model("continuous")(None, latents, latent_timesteps=TIMES)


def test_embeddings_can_be_given_in_place_of_ids(stirred_model):
    model = stirred_model("continuous")
    tokens, latents = some_tokens(), torch.randn(2, 4, 3)
    embeds = model.get_input_embeddings()(tokens)
    by_embeds = model(None, latents, latent_timesteps=TIMES, inputs_embeds=embeds)
    assert torch.equal(by_embeds.logits, model(tokens, latents, latent_timesteps=TIMES).logits)
    with pytest.raises(ValueError, match="exactly one of `input_ids` and `inputs_embeds`"):
        model(tokens, latents, latent_timesteps=TIMES, inputs_embeds=embeds)


@pytest.mark.parametrize("kind", KINDS)
def test_a_row_is_predicted_as_it_is_alone(kind, stirred_model):
    model = stirred_model(kind)
    tokens, latents = noised(some_tokens()), some_latents(model)
    together = model(tokens, latents, TIMES, TIMES)
    for row in range(2):
        one = slice(row, row + 1)
        alone = model(tokens[one], None if latents is None else latents[one], TIMES[one], TIMES[one])
        torch.testing.assert_close(together.logits[one, :, WRITTEN], alone.logits[..., WRITTEN], atol=1e-5, rtol=0)
        if latents is not None:
            torch.testing.assert_close(together.latent_prediction[one], alone.latent_prediction, atol=1e-5, rtol=0)


def test_a_tuple_is_returned_where_asked_for(stirred_model):
    model, tokens = stirred_model("continuous"), some_tokens()
    latents = some_latents(model)
    logits, prediction = call(model, tokens, latents=latents, return_dict=False)
    output = call(model, tokens, latents=latents)
    assert torch.equal(logits, output.logits) and torch.equal(prediction, output.latent_prediction)


@pytest.mark.parametrize("tied", [False, True])
def test_hiding_the_mask_token_costs_no_pass_over_the_logits(tied, stirred_model):
    """The mask is in the bias of the one projection, which is therefore not called as a module."""
    model, calls = stirred_model("none", tie_word_embeddings=tied), []
    model.get_output_embeddings().register_forward_hook(lambda *args: calls.append(args))
    assert (call(model, noised(some_tokens())).logits[..., MASK] == -torch.inf).all()
    assert not calls


def test_an_output_layer_with_something_around_it_is_called_as_it_is(stirred_model):
    """An adapter on the vocabulary projection must not be passed by."""

    class Adapter(torch.nn.Module):
        def __init__(self, base):
            super().__init__()
            self.base = base

        def forward(self, states):
            return 2 * self.base(states)

    model, tokens = stirred_model("none"), noised(some_tokens())
    plain = call(model, tokens).logits
    model.set_output_embeddings(Adapter(model.get_output_embeddings()))
    torch.testing.assert_close(call(model, tokens).logits, 2 * plain)


# --- time ---


def test_a_model_is_told_the_times_it_is_conditioned_on_and_no_others(stirred_model):
    tokens = some_tokens()
    for kind, tokens_told, latents_told in (
        ("none", False, False),
        ("none", True, False),
        ("discrete", False, False),
        ("discrete", True, True),
        ("continuous", False, True),
        ("continuous", True, True),
        ("continuous", False, False),
    ):
        overrides = {"token_time_conditioning": tokens_told, "latent_time_conditioning": latents_told}
        model = stirred_model(kind, **overrides)
        latents, early, late = some_latents(model), torch.full((2,), 0.1), torch.full((2,), 0.9)

        def differs(a, b, model=model, latents=latents):
            one, two = (model(tokens, latents, *times).logits[..., WRITTEN] for times in (a, b))
            return not torch.allclose(one, two, atol=1e-4)

        assert differs((early, early), (late, early)) == tokens_told
        assert differs((early, early), (early, late)) == latents_told


@pytest.mark.parametrize("name", ["token_timesteps", "latent_timesteps"])
def test_a_missing_time_is_named(name, stirred_model):
    model = stirred_model("continuous", token_time_conditioning=True)
    times = {"token_timesteps": TIMES, "latent_timesteps": TIMES}
    del times[name]
    with pytest.raises(ValueError, match=rf"give `{name}` of shape \(2,\)"):
        model(some_tokens(), torch.randn(2, 4, 3), **times)


def test_a_missing_time_of_the_latent_denoiser_is_named(stirred_model):
    with pytest.raises(ValueError, match="give `latent_timesteps`"):
        stirred_model("separate")(None, torch.randn(2, 4, 3))


def test_one_time_serves_all_rows(stirred_model):
    model = stirred_model("continuous")
    tokens, latents = some_tokens(), torch.randn(2, 4, 3)
    one = model(tokens, latents, latent_timesteps=torch.tensor(0.3))
    each = model(tokens, latents, latent_timesteps=torch.full((2,), 0.3))
    torch.testing.assert_close(one.logits, each.logits)


# --- errors ---


@pytest.mark.parametrize(
    ("kind", "latents"),
    [
        ("continuous", torch.zeros(2, 4, dtype=torch.long)),
        ("continuous", torch.zeros(2, 4)),
        ("continuous", torch.zeros(2, 5, 3)),
        ("continuous", torch.zeros(2, 4, 5)),
        ("continuous", torch.zeros(2, 4, 3, dtype=torch.long)),
        ("discrete", torch.zeros(2, 4, 3)),
        ("discrete", torch.zeros(2, 4)),
        ("discrete", torch.zeros(2, 5, dtype=torch.long)),
    ],
)
def test_latents_that_do_not_fit_are_refused_with_what_was_given_and_what_is_taken(kind, latents, stirred_model):
    given = re.escape(f"{tuple(latents.shape)} and dtype {latents.dtype}")
    taken = r"floats of shape \(batch, 4, 3\)" if kind == "continuous" else r"codes \(int64\) of shape \(batch, 4\)"
    with pytest.raises(ValueError, match=f"{given}; this model takes {taken}"):
        stirred_model(kind)(some_tokens(), latents, latent_timesteps=TIMES)


def test_a_model_without_latents_refuses_them(stirred_model):
    model = stirred_model("none")
    with pytest.raises(ValueError, match="call it without `latents`"):
        model(some_tokens(), torch.zeros(2, 4, 3))
    with pytest.raises(ValueError, match="there is nothing to encode"):
        model.encode_latents(some_tokens())


def test_the_loss_alone_needs_labels(stirred_model):
    with pytest.raises(ValueError, match="`loss_only` needs `labels`"):
        stirred_model("none")(some_tokens(), loss_only=True)


def test_who_asks_a_model_to_generate_is_told_of_the_pipeline(stirred_model):
    model = stirred_model("discrete")
    for one in (model, model.model):
        assert not one.can_generate()
        with pytest.raises(NotImplementedError, match=r"by diffusion, not token by token, .*`ladd_hf\.LaddPipeline"):
            one.generate(some_tokens(), max_new_tokens=3)
