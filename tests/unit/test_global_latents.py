"""Latents of the whole text beside those of its chunks: what reads them, and what they are read from."""

from __future__ import annotations

import pytest
import torch

from ladd_hf import LaddForDiffusionLM, LaddJointScheduler, LaddPipeline, LaddSequentialScheduler, TrainingObjective
from ladd_hf.diffusion.time_sampling import TrainingNoise
from ladd_hf.models.chunks import latents_of_tokens, parsed_unpooling, unpooling_spec
from ladd_hf.models.latent_io import LatentPooling, LatentUnpooling, stream_positions
from ladd_hf.models.readouts import GlobalReadout

# Two of the whole text, and four of chunks of three tokens.
SETTINGS = {
    "latent_length": 6,
    "global_latents": 2,
    "encoder_readout": "chunk_mlp",
    "latent_pooling": "chunk",
    "latent_unpooling": "chunk",
}
KINDS = ["continuous", "anchors", "vector", "discrete"]


def whole_text(rows=1, length=12):
    return torch.zeros(rows, dtype=torch.int64), torch.full((rows,), length)


def tokens(rows=3, length=12, seed=0):
    return torch.randint(1, 10, (rows, length), generator=torch.Generator().manual_seed(seed))


def padded(ids, before, after):
    """The texts with padding on both sides, and its mask."""
    mask = torch.nn.functional.pad(torch.ones_like(ids), (before, after))
    return torch.nn.functional.pad(ids, (before, after)), mask


# --- parts ---


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_readout_is_attention(dtype):
    torch.manual_seed(0)
    readout, states = GlobalReadout(2, 32, 2, 5, 1e-5).to(dtype), torch.randn(3, 12, 32).to(dtype)
    starts, lengths = torch.tensor([0, 3, 5]), torch.tensor([12, 4, 0])
    keys, values = (readout._heads(one) for one in readout.key_value(states).chunk(2, dim=-1))
    places = torch.arange(12)[None]
    read = (places >= starts[:, None]) & (places < (starts + lengths)[:, None])
    queries = readout._heads(readout.queries.weight[None].expand(3, -1, -1))
    fused = torch.nn.functional.scaled_dot_product_attention(queries, keys, values, attn_mask=read[:, None, None])
    expected = readout.proj(readout.norm(fused.transpose(1, 2).flatten(2)))
    found = readout(states, starts, lengths)
    assert found.dtype == dtype and found.isfinite().all()
    torch.testing.assert_close(
        found, expected, rtol=0.02 if dtype == torch.bfloat16 else 1e-5, atol=0.05 if dtype == torch.bfloat16 else 1e-6
    )


def test_a_readout_reads_all_tokens_of_a_text_and_no_padding():
    torch.manual_seed(0)
    readout, states = GlobalReadout(2, 32, 2, 5, 1e-5), torch.randn(3, 12, 32).requires_grad_()
    starts, lengths = torch.tensor([0, 3, 5]), torch.tensor([12, 4, 7])
    found = readout(states, starts, lengths)
    assert found.shape == (3, 2, 5)
    for row, (start, length) in enumerate(zip(starts.tolist(), lengths.tolist(), strict=True)):
        for vector in range(2):
            (gradient,) = torch.autograd.grad(found[row, vector].sum(), states, retain_graph=True)
            read = gradient.abs().amax(-1)
            assert read[row].nonzero().flatten().tolist() == list(range(start, start + length))
            assert not read[[other for other in range(3) if other != row]].any()
        alone = readout(states[row : row + 1, start : start + length], *whole_text(1, length))
        torch.testing.assert_close(alone[0], found[row])


def test_a_fresh_one_begins_with_the_mean(tiny_model):
    readout = tiny_model("continuous", **SETTINGS).encoder.global_readout
    states = torch.randn(2, 12, 32)
    _, values = readout.key_value(states).chunk(2, dim=-1)
    expected = readout.proj(readout.norm(values.mean(1)))
    apart = readout(states, *whole_text(2)) - expected[:, None]
    assert apart.abs().mean() < 0.25 * expected.abs().mean()


def test_pooling_gives_latents_of_chunks_their_tokens_and_the_others_all(tiny_config):
    torch.manual_seed(0)
    pooling, states = LatentPooling(tiny_config("discrete", **SETTINGS)), torch.randn(1, 12, 32).requires_grad_()
    for latent in range(6):
        (gradient,) = torch.autograd.grad(pooling(states, *whole_text())[0, latent].square().sum(), states)
        read = gradient.abs().amax(-1)[0].nonzero().flatten().tolist()
        assert read == (list(range(12)) if latent < 2 else list(range(3 * latent - 6, 3 * latent - 3)))


def test_unpooling_gives_tokens_the_latent_of_their_chunk_and_those_of_the_text(tiny_config):
    torch.manual_seed(0)
    unpooling, states = LatentUnpooling(tiny_config("discrete", **SETTINGS)), torch.randn(1, 6, 32).requires_grad_()
    for position in range(12):
        (gradient,) = torch.autograd.grad(unpooling(states, *whole_text(), 12)[0, position].sum(), states)
        assert gradient.abs().amax(-1)[0].nonzero().flatten().tolist() == [0, 1, 2 + position // 3]
    of_text = states.detach().clone()
    of_text[:, 2:] = 0
    said = unpooling(of_text, torch.tensor([2]), torch.tensor([8]), 12)[0]
    assert not said[:2].any() and not said[10:].any() and said[2:10].any(), "nothing at padding"
    torch.testing.assert_close(said[2:10], said[2:3].expand(8, -1)), "the same for all tokens"


@pytest.mark.parametrize(("positions", "expected"), [("aligned", [5.5, 5.5, 1, 4, 7, 10]), ("learned", [0] * 6)])
def test_they_are_in_the_middle_of_the_text(positions, expected, tiny_config):
    config = tiny_config("continuous", latent_positions=positions, **SETTINGS)
    found = stream_positions(config, torch.zeros(1, 12, 32), torch.zeros(1, 6, 32), None)[0]
    assert found.tolist() == [*range(12), *expected]


def test_the_network_tells_them_apart_by_slots_of_their_own(tiny_model):
    model = tiny_model("continuous", **SETTINGS)
    assert model.model.latent_input.slots.shape == (2, 32) and model.model.latent_input.slots.any()
    states = model.model.latent_input(torch.zeros(1, 6, 3), torch.ones(1))
    assert not torch.equal(states[0, 0], states[0, 1]) and torch.equal(states[0, 2], states[0, 5])


# --- models ---


@pytest.mark.parametrize("kind", KINDS)
def test_latents_of_chunks_are_those_of_a_model_without_the_others(kind, stirred_model):
    model = stirred_model(kind, **SETTINGS)
    plain = stirred_model(kind, **{**SETTINGS, "latent_length": 4, "global_latents": 0})
    missing, _ = plain.encoder.load_state_dict(model.encoder.state_dict(), strict=False)
    assert not missing
    states = model.encoder(tokens()).vectors
    assert states.shape == (3, 6, 3)
    torch.testing.assert_close(plain.encoder(tokens()).vectors, states[:, 2:])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("length", [4, 7, 12])
def test_padding_changes_nothing_at_any_length(kind, length, stirred_model):
    model, ids = stirred_model(kind, **SETTINGS), tokens(length=length)
    wide, mask = padded(ids, 0, 12 - length)
    latents = model.encode_latents(ids)
    torch.testing.assert_close(model.encode_latents(wide, mask), latents)
    t = torch.full((3,), 0.5)
    alone, beside = model(ids, latents, t, t), model(wide, latents, t, t, attention_mask=mask)
    torch.testing.assert_close(beside.logits[:, :length], alone.logits, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(beside.latent_prediction, alone.latent_prediction, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("kind", [*KINDS, "alone", "separate"])
def test_it_learns_is_saved_and_writes(kind, stirred_model, tmp_path):
    settings = {**SETTINGS, "latent_pooling": "none"} if kind == "separate" else SETTINGS
    model, ids = stirred_model(kind, **settings), tokens()
    objective = TrainingObjective("sequential" if kind == "alone" else "independent")
    noise = TrainingNoise(0, torch.arange(3))
    model.train()
    model(ids, labels=ids, objective=objective, noise=noise).loss.backward()
    learning = [name for name, one in model.named_parameters() if one.grad is not None and one.grad.any()]
    for name in ("encoder.global_readout.queries", "model.latent_unpooling.global_proj"):
        assert any(one.startswith(name) for one in learning), name
    model.eval().save_pretrained(tmp_path)
    again = LaddForDiffusionLM.from_pretrained(tmp_path)
    torch.testing.assert_close(again.encode_latents(ids), model.encode_latents(ids))
    found = LaddPipeline(again, LaddSequentialScheduler())(
        batch_size=2, num_steps=4, generator=torch.Generator().manual_seed(0)
    )
    assert found.latents.shape[:2] == (2, 6)


def test_a_text_needs_a_token_for_each_chunk_alone(stirred_model):
    model = stirred_model("continuous", **SETTINGS)
    assert model.encode_latents(tokens(length=4)).shape == (3, 6, 3)
    with pytest.raises(ValueError, match=r"3 tokens, fewer than `latent_length` without `global_latents` \(4\)"):
        model.encode_latents(tokens(length=3))


# --- schedulers ---


def test_tokens_wait_for_their_own_latent_and_for_those_of_the_text(stirred_model):
    model = stirred_model("discrete", **SETTINGS)
    spec = unpooling_spec(model.config)
    assert spec == {"name": "chunk", "global_latents": 2} and parsed_unpooling(spec) == ("chunk", 2)
    own = latents_of_tokens("chunk", 6, tokens(1), None, 2)
    assert own[0].tolist() == [2, 2, 2, 3, 3, 3, 4, 4, 4, 5, 5, 5]
    scheduler = LaddJointScheduler(token_waiting="until_known").for_model(model.config)
    scheduler.set_timesteps(3)
    masked, nothing = torch.full((1, 12), 10), 9
    for known, waits in (([0, 1, 2], 9), ([0, 1, 2, 3, 4, 5], 0), ([0, 2, 3, 4, 5], 12)):
        codes = torch.full((1, 6), nothing)
        codes[0, known] = 1
        waiting = scheduler.plan_step(0, masked, codes, torch.Generator().manual_seed(0)).waiting
        assert int(waiting.sum()) == waits


def test_a_scheduler_is_saved_with_them(tiny_config, tmp_path):
    scheduler = LaddJointScheduler().for_model(tiny_config("discrete", **SETTINGS))
    scheduler.save_pretrained(tmp_path)
    again = LaddJointScheduler.from_pretrained(tmp_path)
    assert again.config.latent_unpooling == {"name": "chunk", "global_latents": 2}
    assert again.for_model(tiny_config("discrete", **SETTINGS)) is again


@pytest.mark.parametrize(
    "wrong", ["chunks", 3, None, {"name": "none", "global_latents": 2}, {"name": "chunk", "count": 1}]
)
def test_other_connections_are_refused(wrong):
    with pytest.raises(ValueError, match=r"`latent_unpooling` is .*; give 'none' or 'chunk'"):
        LaddJointScheduler(latent_unpooling=wrong)


# --- what does not go together ---


@pytest.mark.parametrize(
    ("kind", "settings", "said"),
    [
        ("continuous", {"latent_length": 2}, "`global_latents` is 2 of `latent_length` 2: leave at least one"),
        ("continuous", {"encoder_readout": "last"}, "`global_latents` is 2, but the encoder does not read single"),
        ("none", {}, "`latent_type` is 'none', but global_latents is set"),
        ("continuous", {"global_latents": -1}, "`global_latents` is -1"),
    ],
    ids=str,
)
def test_what_cannot_be_of_the_whole_text_is_refused(kind, settings, said, tiny_config):
    given = {"global_latents": 2} if kind == "none" else {**SETTINGS, **settings}
    with pytest.raises(ValueError, match=said):
        tiny_config(kind, **given)


@pytest.mark.parametrize("kind", ["continuous", "vector"])
def test_without_them_nothing_is_added_to_a_model(kind, tiny_model):
    settings = {**SETTINGS, "latent_length": 4, "global_latents": 0}
    names = tiny_model(kind, **settings).state_dict()
    assert not [name for name in names if "global" in name or "slots" in name]
