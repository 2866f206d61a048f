"""The model keeps the denoiser's contract for every kind of latents, and trains, saves and loads as promised."""

from __future__ import annotations

import copy
import re

import pytest
import torch

from ladd_hf import LaddForDiffusionLM, LaddModel, RowGenerator, TrainingNoise, TrainingObjective

KINDS = ("none", "continuous", "separate", "discrete", "vector", "gumbel")
LATENT_KINDS = KINDS[1:]
MASK, TIMES = 10, torch.tensor([0.2, 0.9])
EVERYTHING = TrainingObjective(
    latent_dropout=0.3,
    encoder_corruption=0.5,
    contrastive_weight=0.1,
    conditional_independence_weight=0.1,
    latent_kl_weight=0.01,
)


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


def some_tokens(rows=2, length=12):
    return torch.randint(1, 10, (rows, length))


def noised(tokens):
    return torch.where(torch.rand(tokens.shape) < 0.5, MASK, tokens)


def some_latents(model, rows=2):
    """Noisy latents of the model's kind; some codes masked."""
    config = model.config
    if config.latent_type == "none":
        return None
    if config.latent_type == "continuous":
        return torch.randn(rows, 4, 3)
    return torch.randint(0, config.codebook_size + 1, (rows, 4))


def call(model, tokens, **kwargs):
    """The contract's call at times that nobody has to think about."""
    latents = kwargs.pop("latents", some_latents(model, len(tokens)))
    return model(tokens, latents, TIMES[: len(tokens)], TIMES[: len(tokens)].flip(0), **kwargs)


def loss_of(model, tokens, **kwargs):
    kwargs.setdefault("labels", tokens)
    kwargs.setdefault("noise", TrainingNoise(0, torch.arange(len(tokens))))
    return model(tokens, loss_only=True, **kwargs)


def gradients(model, loss):
    model.zero_grad()
    loss.backward()
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


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
        size = 3 if model.config.latent_type == "continuous" else model.config.codebook_size
        assert output.latent_prediction.shape == (2, 4, size)


@pytest.mark.parametrize("kind", KINDS)
def test_the_mask_token_is_never_predicted(kind, stirred_model):
    model = stirred_model(kind)
    tokens = noised(some_tokens())
    for output in (call(model, tokens), call(model, tokens, logits_mask=tokens == MASK)):
        assert (output.logits[..., MASK] == -torch.inf).all()
        assert output.logits[..., :MASK].isfinite().all()


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
    assert not torch.allclose(call(model, tokens).logits[..., :MASK], alone.logits[..., :MASK], atol=1e-3)


@pytest.mark.parametrize("kind", LATENT_KINDS)
def test_each_channel_sees_the_other(kind, stirred_model):
    model = stirred_model(kind)
    tokens, latents = noised(some_tokens()), some_latents(model)
    other = latents + 1 if latents.is_floating_point() else (latents + 1) % (model.config.codebook_size + 1)
    before, after = call(model, tokens, latents=latents), call(model, tokens, latents=other)
    assert not torch.allclose(before.logits[..., :MASK], after.logits[..., :MASK], atol=1e-3)
    changed = call(model, torch.where(tokens == MASK, tokens, tokens % 9 + 1), latents=latents)
    sees = not torch.allclose(changed.latent_prediction, before.latent_prediction, atol=1e-4)
    assert sees == (kind != "separate"), "a latent denoiser of its own has no tokens in it"


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
    with pytest.raises(ValueError, match="only a model with `separate_latent_denoiser` runs on latents alone"):
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
        torch.testing.assert_close(together.logits[one, :, :MASK], alone.logits[..., :MASK], atol=1e-5, rtol=0)
        if latents is not None:
            torch.testing.assert_close(together.latent_prediction[one], alone.latent_prediction, atol=1e-5, rtol=0)


def test_a_tuple_is_returned_where_asked_for(stirred_model):
    model, tokens = stirred_model("continuous"), some_tokens()
    latents = some_latents(model)
    logits, prediction = call(model, tokens, latents=latents, return_dict=False)
    output = call(model, tokens, latents=latents)
    assert torch.equal(logits, output.logits) and torch.equal(prediction, output.latent_prediction)


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
            one, two = (model(tokens, latents, *times).logits[..., :MASK] for times in (a, b))
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
    assert torch.equal(one.logits, model(tokens, latents, latent_timesteps=torch.full((2,), 0.3)).logits)


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
def test_every_weight_has_a_gradient_in_stage_1_too(kind, stirred_model):
    """Data parallelism and the optimiser see each weight in each step, though some gradients are zero."""
    model = stirred_model(kind).train()
    objective = TrainingObjective(time_distribution="tokens", latent_loss_weight=0.0)
    found = gradients(model, loss_of(model, some_tokens(), objective=objective).loss)
    assert found.keys() == dict(model.named_parameters()).keys()


@pytest.mark.parametrize("kind", LATENT_KINDS)
def test_the_token_loss_teaches_the_encoder(kind, stirred_model):
    model = stirred_model(kind).train()
    objective = TrainingObjective(latent_loss_weight=0.0, time_distribution="tokens")
    found = gradients(model, loss_of(model, some_tokens(8), objective=objective).loss)
    assert all(found[name].any() for name, _ in model.named_parameters() if name.startswith("encoder."))


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


# --- saving, copying, precision ---


@pytest.mark.parametrize("kind", KINDS)
def test_a_loaded_model_is_the_saved_one(kind, stirred_model, tmp_path):
    model = stirred_model(kind)
    model.save_pretrained(tmp_path)
    loaded, info = LaddForDiffusionLM.from_pretrained(tmp_path, output_loading_info=True)
    assert not any(info[name] for name in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    before, after = model.state_dict(), loaded.state_dict()
    assert before.keys() == after.keys() and all(torch.equal(before[name], after[name]) for name in before)
    tokens, latents = noised(some_tokens()), some_latents(model)
    outputs = [call(m, tokens, latents=latents) for m in (model, loaded.eval())]
    assert torch.equal(outputs[0].logits, outputs[1].logits)
    clean = some_tokens()
    assert torch.equal(loss_of(model, clean).loss, loss_of(loaded, clean).loss)


@pytest.mark.parametrize("kind", KINDS)
def test_a_copy_is_equal_and_lives_its_own_life(kind, stirred_model):
    model = stirred_model(kind)
    twin = copy.deepcopy(model)
    tokens, latents = some_tokens(), some_latents(model)
    before = call(model, tokens, latents=latents).logits
    assert torch.equal(call(twin, tokens, latents=latents).logits, before)
    with torch.no_grad():
        for weight in twin.parameters():
            weight.mul_(0.5)
    assert torch.equal(call(model, tokens, latents=latents).logits, before)


@pytest.mark.parametrize("kind", KINDS)
def test_half_precision_predicts_roughly_the_same(kind, stirred_model, tmp_path):
    model = stirred_model(kind)
    model.save_pretrained(tmp_path)
    half = LaddForDiffusionLM.from_pretrained(tmp_path, dtype=torch.bfloat16)
    tokens, latents = noised(some_tokens()), some_latents(model)
    expected, logits = (call(m, tokens, latents=latents).logits[..., :MASK] for m in (model, half))
    assert logits.dtype == torch.bfloat16
    assert torch.cosine_similarity(expected.flatten(), logits.float().flatten(), dim=0) > 0.99
    loss = loss_of(half, some_tokens()).loss
    assert loss.dtype == torch.float32 and loss.isfinite()
    if kind != "none":
        half.latent_channel.check(half.encode_latents(some_tokens()), 2, 4)


@pytest.mark.parametrize("kind", KINDS)
def test_mixed_precision_trains(kind, stirred_model):
    model = stirred_model(kind).train()
    with torch.autocast("cpu", torch.bfloat16):
        loss = loss_of(model, some_tokens(4)).loss
    found = gradients(model, loss)
    assert loss.isfinite() and all(g.isfinite().all() and g.dtype == torch.float32 for g in found.values())


def test_input_and_output_embeddings_can_be_one_matrix(tiny_model, tmp_path):
    model = tiny_model("continuous", tie_word_embeddings=True)
    assert model.token_head.proj.weight is model.model.embed_tokens.weight
    assert model.model.embed_tokens.weight.std() > 0.05, "the head's zero start does not wipe the embeddings out"
    model.save_pretrained(tmp_path)
    loaded = LaddForDiffusionLM.from_pretrained(tmp_path)
    assert loaded.token_head.proj.weight is loaded.model.embed_tokens.weight
    assert torch.equal(loaded.model.embed_tokens.weight, model.model.embed_tokens.weight)
    apart = tiny_model("continuous")
    assert apart.token_head.proj.weight is not apart.model.embed_tokens.weight


def test_a_grown_vocabulary_keeps_the_mask_out(stirred_model):
    model = stirred_model("none")
    tokens = some_tokens()
    before = model(tokens).logits
    model.resize_token_embeddings(14)
    after = model(tokens).logits
    assert after.shape == (2, 12, 14) and (after[..., MASK] == -torch.inf).all()
    torch.testing.assert_close(after[..., :MASK], before[..., :MASK])


# --- what can be looked at ---


@pytest.mark.parametrize("kind", ["none", "continuous"])
def test_hidden_states_and_attentions_come_where_asked_for(kind, stirred_model):
    model = stirred_model(kind)
    model.set_attn_implementation("eager")
    tokens = some_tokens()
    output = call(model, tokens, output_hidden_states=True, output_attentions=True)
    assert [s.shape for s in output.hidden_states] == [(2, 12, 32)] * 3
    assert torch.equal(output.hidden_states[0], model.get_input_embeddings()(tokens))
    places = 12 if kind == "none" else 16
    assert [a.shape for a in output.attentions] == [(2, 2, places, places)] * 2
    for weights in output.attentions:
        torch.testing.assert_close(weights.sum(-1), torch.ones(2, 2, places))
    silent = call(model, tokens)
    assert silent.hidden_states is None and silent.attentions is None


def test_the_base_model_gives_the_states_the_heads_read(stirred_model):
    model = stirred_model("continuous")
    tokens, latents = some_tokens(), torch.randn(2, 4, 3)
    states = model.model(tokens, latents, latent_timesteps=TIMES)
    assert isinstance(model.model, LaddModel)
    assert states.latent_hidden_state.shape == (2, 4, 32) and states.conditioning.shape == (2, 16)
    hidden = model.token_head.modulate(states.last_hidden_state, states.conditioning)
    logits = model(tokens, latents, latent_timesteps=TIMES).logits
    torch.testing.assert_close(model.token_head.proj(hidden)[..., :MASK], logits[..., :MASK])
