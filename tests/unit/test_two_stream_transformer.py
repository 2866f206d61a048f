"""Two streams of weights, one attention: bidirectional, blind to padding, aware of relative positions only."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from ladd_hf.models.latent_io import stream_positions
from ladd_hf.models.transformer import (
    JointAttention,
    LaddBlock,
    ModulatedNorm,
    Modulation,
    OutputHead,
    ResidualMLP,
    TimestepEmbedding,
    apply_rotary,
    rotary_embedding,
)

POSITIONS = ("aligned", "concatenated", "learned")


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


@torch.no_grad()
def awaken(module, seed=0):
    """Random weights everywhere: at its start a modulation is zero, and gates close what is behind them."""
    generator = torch.Generator().manual_seed(seed)
    for weight in module.parameters():
        scale = 0.3 if weight.ndim < 2 else weight.shape[-1] ** -0.5
        weight.copy_(torch.randn(weight.shape, generator=generator) * scale)
    return module


def rotated(states, positions, theta=100.0):
    """`(B, length, head_dim)` states turned by `(B, length)` positions."""
    rotary = rotary_embedding(positions, states.shape[-1], theta, states.dtype)
    both = states[:, :, None, None].expand(-1, -1, 2, 1, -1)
    return apply_rotary(both, rotary)[:, :, 0, 0]


def block(config, streams, cond=None):
    config._attn_implementation = "sdpa"
    return awaken(LaddBlock(config, streams, config.hidden_size, config.num_attention_heads, cond))


def positions_of(length, config):
    head_dim = config.hidden_size // config.num_attention_heads
    return rotary_embedding(torch.arange(length)[None], head_dim, 10_000.0, torch.float32)


# --- rotary positions ---


def test_rotation_turns_each_pair_by_position_times_its_frequency():
    states = torch.randn(1, 3, 6, dtype=torch.float64)
    positions = torch.tensor([[0.0, 2.5, 1000.0]])
    turned = rotated(states, positions)
    pairs = torch.complex(states[..., :3], states[..., 3:])
    angles = positions[..., None].double() * 100.0 ** (-torch.arange(3).double() / 3)
    expected = pairs * torch.polar(torch.ones_like(angles), angles)
    torch.testing.assert_close(torch.complex(turned[..., :3], turned[..., 3:]), expected, atol=1e-12, rtol=0)


def test_position_zero_turns_nothing_and_no_position_changes_a_length():
    states = torch.randn(2, 5, 8)
    assert torch.equal(rotated(states, torch.zeros(2, 5)), states)
    turned = rotated(states, torch.rand(2, 5) * 50)
    torch.testing.assert_close(turned.norm(dim=-1), states.norm(dim=-1))


@pytest.mark.parametrize("shift", [3.0, 0.25, -7.5])
def test_attention_scores_depend_on_differences_of_positions_only(shift):
    query, key = torch.randn(2, 1, 4, 8)
    positions = torch.tensor([[0.0, 1.5, 4.0, 2.25]])

    def scores(offset):
        return rotated(query, positions + offset) @ rotated(key, positions + offset).transpose(1, 2)

    torch.testing.assert_close(scores(shift), scores(0.0), atol=1e-5, rtol=0)
    moved = rotated(query, positions + shift) @ rotated(key, positions).transpose(1, 2)
    assert not torch.allclose(moved, scores(0.0), atol=1e-2)


# --- where latents stand ---


def test_aligned_latents_stand_at_the_mean_position_of_their_chunk(tiny_model):
    config = tiny_model("continuous").config  # 4 latents
    mask = torch.tensor([[1] * 12, [1] * 8 + [0] * 4])
    places = stream_positions(config, torch.zeros(2, 12, 32), torch.zeros(2, 4, 32), mask)[:, 12:]
    for row, length in enumerate([12, 8]):
        chunks = torch.arange(length, dtype=torch.float32).view(4, -1)
        torch.testing.assert_close(places[row], chunks.mean(1))


def test_aligned_latents_stand_between_tokens_where_chunks_are_no_whole_number_of_them(tiny_model):
    config = tiny_model("continuous").config
    places = stream_positions(config, torch.zeros(1, 6, 32), torch.zeros(1, 4, 32), None)[0, 6:]
    torch.testing.assert_close(places, (torch.arange(4) + 0.5) * 6 / 4 - 0.5)
    assert places.min() >= 0 and places.max() <= 5, "inside the text"


def test_concatenated_latents_follow_the_last_token_and_learned_ones_differ_by_slots(tiny_model, stirred_model):
    states, latents = torch.zeros(1, 6, 32), torch.zeros(1, 4, 32)
    concatenated = tiny_model("continuous", latent_positions="concatenated").config
    assert stream_positions(concatenated, states, latents, None)[0, 6:].tolist() == [6, 7, 8, 9]
    learned = stirred_model("continuous", latent_positions="learned")
    assert stream_positions(learned.config, states, latents, None)[0, 6:].unique().numel() == 1
    out = learned(torch.ones(1, 6, dtype=torch.long), torch.ones(1, 4, 3), latent_timesteps=torch.ones(1))
    assert (out.latent_prediction[0, 1:] - out.latent_prediction[0, :-1]).abs().amax(1).min() > 1e-3


# --- attention ---


@pytest.mark.parametrize("kind", ["none", "continuous", "discrete"])
def test_every_place_sees_every_other_in_both_directions(kind, stirred_model):
    model = stirred_model(kind).model
    embeds = torch.randn(1, 5, 32, requires_grad=True)
    latents = None if kind == "none" else torch.randn(1, 4, 3, requires_grad=True)
    times = torch.full((1,), 0.5)
    out = model(inputs_embeds=embeds, latent_vectors=latents, latent_timesteps=times)
    inputs = (embeds,) if latents is None else (embeds, latents)
    for states in (out.last_hidden_state, out.latent_hidden_state)[: len(inputs)]:
        for place in range(states.shape[1]):
            for gradient in torch.autograd.grad(states[0, place].square().sum(), inputs, retain_graph=True):
                assert gradient.abs().amax(-1).min() > 0


@pytest.mark.parametrize("kind", ["none", "continuous", "discrete", "separate"])
def test_eager_attention_equals_sdpa(kind, stirred_model):
    model = stirred_model(kind)
    tokens = torch.randint(1, 11, (2, 9))
    attention_mask = torch.tensor([[1] * 9, [1] * 5 + [0] * 4])
    latents = None if kind == "none" else torch.randn(2, 4, 3)
    if kind == "discrete":
        latents = torch.randint(0, model.config.codebook_size + 1, (2, 4))
    real, outputs = attention_mask.bool(), []
    for implementation in ("sdpa", "eager"):
        model.set_attn_implementation(implementation)
        assert model.config._attn_implementation == implementation
        output = model(tokens, latents, latent_timesteps=torch.full((2,), 0.3), attention_mask=attention_mask)
        outputs.append([output.logits[real][:, :10]])
        if kind != "none":
            outputs[-1] += [output.latent_prediction, model.encode(tokens, attention_mask).vectors]
    for sdpa, eager in zip(*outputs, strict=True):
        torch.testing.assert_close(sdpa, eager, atol=1e-5, rtol=0)


@pytest.mark.parametrize("positions", POSITIONS)
def test_what_stands_in_the_padding_changes_nothing(positions, stirred_model):
    model = stirred_model("continuous", latent_positions=positions)
    tokens = torch.randint(1, 10, (2, 9))
    attention_mask = torch.tensor([[1] * 9, [1] * 5 + [0] * 4])
    latents, times = torch.randn(2, 4, 3), torch.full((2,), 0.5)
    changed = torch.where(attention_mask.bool(), tokens, (tokens + 3) % 10)
    outputs = [model(t, latents, latent_timesteps=times, attention_mask=attention_mask) for t in (tokens, changed)]
    real = attention_mask.bool()
    assert torch.equal(outputs[0].logits[real], outputs[1].logits[real])
    assert torch.equal(outputs[0].latent_prediction, outputs[1].latent_prediction)
    seen = model(changed, latents, latent_timesteps=times).latent_prediction[1]
    assert not torch.allclose(seen, outputs[0].latent_prediction[1], atol=1e-4), "without a mask it does"


@pytest.mark.parametrize("padding", [(0, 4), (4, 0), (1, 3)])
@pytest.mark.parametrize("positions", POSITIONS)
def test_a_padded_row_equals_the_shorter_row_alone(positions, padding, stirred_model):
    model = stirred_model("continuous", latent_positions=positions)
    short = torch.randint(1, 10, (1, 7))
    padded, attention_mask = (torch.nn.functional.pad(x, padding) for x in (short, torch.ones_like(short)))
    latents, times = torch.randn(1, 4, 3), torch.full((1,), 0.5)
    alone = model(short, latents, latent_timesteps=times)
    together = model(padded, latents, latent_timesteps=times, attention_mask=attention_mask)
    torch.testing.assert_close(together.logits[:, padding[0] :][:, :7], alone.logits, atol=1e-5, rtol=0)
    torch.testing.assert_close(together.latent_prediction, alone.latent_prediction, atol=1e-5, rtol=0)


def test_attention_has_no_weights_and_is_told_that_it_is_not_causal(tiny_config):
    attention = JointAttention(tiny_config("none"), 2)
    assert not list(attention.parameters()) and attention.is_causal is False


# --- streams ---


@pytest.mark.parametrize("cond", [None, 0, 16])
def test_a_block_of_two_streams_without_latents_is_the_token_stream_alone(cond, tiny_config):
    config = tiny_config("continuous")
    both, alone = block(config, ("token", "latent"), cond), block(config, ("token",), cond)
    alone.streams["token"].load_state_dict(both.streams["token"].state_dict())
    states, conditioning = torch.randn(2, 5, 32), torch.randn(2, cond) if cond else None
    rotary = positions_of(5, config)
    two, nothing = both(states, None, conditioning, rotary)
    one, _ = alone(states, None, conditioning, rotary)
    assert nothing is None
    assert torch.equal(two, one)
    with_latents, _ = both(states, torch.randn(2, 4, 32), conditioning, positions_of(9, config))
    assert not torch.allclose(with_latents, two, atol=1e-3)


def test_two_streams_with_the_same_weights_are_one_stream_over_the_concatenation(tiny_config):
    config = tiny_config("continuous")
    both, alone = block(config, ("token", "latent"), 16), block(config, ("token",), 16)
    for stream in both.streams.values():
        stream.load_state_dict(alone.streams["token"].state_dict())
    states, conditioning = torch.randn(2, 9, 32), torch.randn(2, 16)
    rotary = positions_of(9, config)
    whole, _ = alone(states, None, conditioning, rotary)
    parts = both(states[:, :5], states[:, 5:], conditioning, rotary)
    torch.testing.assert_close(torch.cat(parts, dim=1), whole, atol=1e-5, rtol=0)


# --- modulation ---


@pytest.mark.parametrize("cond", [0, 16])
def test_a_modulated_block_starts_as_the_identity_and_an_encoders_block_does_not(cond, tiny_config):
    config = tiny_config("continuous")
    modulated, plain = block(config, ("token", "latent"), cond), block(config, ("token",), None)
    for stream in modulated.streams.values():
        for weight in stream.modulation.parameters():
            nn.init.zeros_(weight)
    states, latents, conditioning = torch.randn(2, 5, 32), torch.randn(2, 4, 32), torch.randn(2, cond) if cond else None
    after, latents_after = modulated(states, latents, conditioning, positions_of(9, config))
    assert torch.equal(after, states) and torch.equal(latents_after, latents)
    assert not torch.allclose(plain(states, None, None, positions_of(5, config))[0], states, atol=1e-2)


@pytest.mark.parametrize("kind", ["none", "continuous", "discrete", "vector", "gumbel", "separate", "separate_codes"])
def test_a_fresh_model_knows_nothing(kind, tiny_model):
    model = tiny_model(kind).eval()
    for module in model.modules():
        if isinstance(module, Modulation):
            assert all(not weight.any() for weight in module.parameters())
    tokens = torch.randint(1, 11, (2, 12))
    latents = None if kind == "none" else torch.randn(2, 4, 3)
    if model.config.latent_type == "discrete":
        latents = torch.randint(0, model.config.codebook_size + 1, (2, 4))
    output = model(tokens, latents, latent_timesteps=torch.rand(2))
    probabilities = output.logits.softmax(-1)
    torch.testing.assert_close(probabilities[..., 1:10], torch.full((2, 12, 9), 1 / 9))  # no padding, no mask
    if latents is not None:
        assert not output.latent_prediction.any()


@pytest.mark.parametrize("eps", [1e-5, 1e-1])
def test_the_one_kernel_modulated_norm_equals_the_general_one(eps):
    norm, plain = (awaken(norm).double() for norm in (ModulatedNorm(8, eps), nn.LayerNorm(8, bias=False, eps=eps)))
    states = torch.randn(3, 5, 8, dtype=torch.float64)
    shift, scale = torch.randn(2, 1, 1, 8, dtype=torch.float64)
    one_kernel = norm(states, shift, scale)
    general = norm(states, shift.expand(3, 1, 8), scale.expand(3, 1, 8))
    torch.testing.assert_close(one_kernel, general)
    torch.testing.assert_close(general, plain(states) * (1 + scale) + shift)
    assert torch.equal(norm(states), plain(states))


def test_each_row_is_modulated_by_its_own_conditioning(tiny_config):
    config = tiny_config("continuous")
    layer = block(config, ("token",), 16)
    states, conditioning = torch.randn(1, 5, 32).expand(3, -1, -1), torch.randn(3, 16)
    rotary = positions_of(5, config)
    together, _ = layer(states, None, conditioning, rotary)
    for row in range(3):
        alone, _ = layer(states[:1], None, conditioning[row : row + 1], rotary)
        torch.testing.assert_close(together[row : row + 1], alone, atol=1e-5, rtol=0)
    assert not torch.allclose(together[0], together[1], atol=1e-3)


def test_the_modulation_without_conditioning_is_a_learned_vector():
    modulation = awaken(Modulation(0, 4, count=3))
    vectors = modulation(None)
    assert [v.shape for v in vectors] == [(1, 1, 4)] * 3
    assert torch.equal(torch.cat(vectors, -1).flatten(), modulation.bias)
    conditioned = awaken(Modulation(5, 4, count=3))
    assert [v.shape for v in conditioned(torch.randn(7, 5))] == [(7, 1, 4)] * 3
    assert torch.equal(torch.cat(conditioned(None), -1).flatten(), conditioned.bias)


def test_the_time_embedding_tells_times_apart_that_differ_by_a_thousandth():
    embedding = awaken(TimestepEmbedding(16))
    embedded = embedding(torch.linspace(0, 1, 1001))
    assert embedded.shape == (1001, 16)
    assert (embedded[1:] - embedded[:-1]).norm(dim=-1).min() > 1e-3
    distances = torch.cdist(embedded, embedded) + torch.eye(1001)
    assert distances.min() > 1e-3, "no two times share an embedding"


def test_the_time_embedding_of_a_float64_model_sees_times_in_float64():
    embedding = awaken(TimestepEmbedding(16)).double()
    start, step, two = embedding(0.37 + torch.tensor([0.0, 1e-9, 2e-9], dtype=torch.float64))
    assert (step - start).abs().max() > 0
    torch.testing.assert_close(two - start, 2 * (step - start), rtol=1e-3, atol=1e-12)


# --- heads ---


def test_output_heads_start_at_zero_and_the_wide_head_keeps_its_width(tiny_model):
    wide = tiny_model("continuous", latent_head={"name": "mlp", "layers": 2, "hidden_size": 48})
    assert isinstance(wide.latent_head.wide, ResidualMLP)
    assert wide.latent_head.wide(torch.randn(2, 4, 32)).shape == (2, 4, 48)
    heads = [module for module in wide.modules() if isinstance(module, OutputHead)]
    assert len(heads) == 2
    assert all(not head.proj.weight.any() and not head.proj.bias.any() for head in heads)
    assert tiny_model("continuous").latent_head.wide is None


# --- activation checkpointing ---


@pytest.mark.parametrize("kind", ["none", "continuous", "vector", "separate", "separate_codes", "alone"])
def test_activation_checkpointing_recomputes_blocks_and_gives_the_same_gradients(kind, stirred_model):
    tokens = torch.randint(1, 10, (3, 12))
    calls, losses, gradients = [], [], []
    for checkpointing in (False, True):
        model = stirred_model(kind).train()
        if checkpointing:
            model.activation_checkpointing_enable()
        count = []
        for module in model.modules():
            if isinstance(module, JointAttention):
                module.register_forward_hook(lambda *_, count=count: count.append(1))
        torch.manual_seed(5)
        loss = model(tokens, labels=tokens, loss_only=True).loss
        loss.backward()
        calls.append(len(count))
        losses.append(loss.detach())
        gradients.append({name: p.grad for name, p in model.named_parameters() if p.grad is not None})
    assert calls[1] == 2 * calls[0], "each block's attention runs again in the backward pass"
    assert torch.equal(*losses)
    assert gradients[0].keys() == gradients[1].keys()
    for name, gradient in gradients[0].items():
        torch.testing.assert_close(gradients[1][name], gradient, atol=1e-6, rtol=1e-4, msg=name)
