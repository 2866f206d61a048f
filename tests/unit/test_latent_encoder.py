"""The encoder reads each row's own tokens into its latents, and knows how far they are from a standard normal."""

from __future__ import annotations

import math

import pytest
import torch
from torch.distributions import Normal, kl_divergence

from ladd_hf import LaddPipeline, RowGenerator
from ladd_hf.models.chunks import Chunks, row_spans
from ladd_hf.models.encoders.trained import LaddEncoder, read_last

LENGTHS = torch.tensor([12, 9, 7, 5, 4])
START = torch.zeros_like(LENGTHS)


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


@pytest.fixture
def make_encoder(stirred_model):
    """`make_encoder(**overrides)`: the encoder of a model with continuous latents."""
    return lambda **overrides: stirred_model("continuous", **overrides).encoder


def padding_mask(lengths, size=12, side="right"):
    mask = (torch.arange(size) < lengths[:, None]).long()
    return mask if side == "right" else mask.flip(1)


# --- read-outs ---


@pytest.mark.parametrize("dtype", [torch.int64, torch.bool])
def test_texts_span_what_the_mask_says_or_the_whole_row(dtype):
    tokens = torch.zeros(5, 12, dtype=torch.long)
    for side, begins in (("right", torch.zeros_like(LENGTHS)), ("left", 12 - LENGTHS)):
        starts, lengths = row_spans(padding_mask(LENGTHS, side=side).to(dtype), tokens)
        assert torch.equal(starts, begins) and torch.equal(lengths, LENGTHS)
    starts, lengths = row_spans(None, tokens)
    assert starts.tolist() == [0] * 5 and lengths.tolist() == [12] * 5


@pytest.mark.parametrize("latent_length", [1, 3, 4])
def test_the_last_states_are_those_of_the_last_real_tokens(latent_length):
    states = torch.randn(5, 12, 6)
    read = read_last(states, START, LENGTHS, latent_length)
    assert read.shape == (5, latent_length, 6)
    for row, length in enumerate(LENGTHS.tolist()):
        for latent in range(latent_length):
            place = length - latent_length + latent
            assert torch.equal(read[row, latent], states[row, place])


def chunks_by_loop(states, lengths, latent_length, chunk_size):
    """The definition, token by token: rank r of L real tokens goes to chunk floor(r M / L)."""
    batch, _, width = states.shape
    read = torch.zeros(batch, latent_length, chunk_size, width)
    for row, length in enumerate(lengths.tolist()):
        filled = [0] * latent_length
        for rank in range(length):
            chunk = rank * latent_length // length
            read[row, chunk, filled[chunk]] = states[row, rank]
            filled[chunk] += 1
    return read.flatten(2)


@pytest.mark.parametrize("latent_length", [1, 2, 3, 4, 5, 12])
def test_chunks_are_those_of_the_definition(latent_length):
    states = torch.randn(5, 12, 6)
    chunks = Chunks(latent_length, 12)
    read = chunks.read(states, START, LENGTHS)
    assert torch.equal(read, chunks_by_loop(states, LENGTHS, latent_length, chunks.size))


@pytest.mark.parametrize("latent_length", [1, 2, 3, 4, 5, 7, 12])
def test_every_real_token_belongs_to_exactly_one_chunk_and_padding_to_none(latent_length):
    lengths = torch.arange(1, 13)
    ranks = torch.arange(1, 13.0).expand(12, -1)[..., None]  # rank + 1, so that a missing one is told apart
    read = Chunks(latent_length, 12).read(ranks, torch.zeros_like(lengths), lengths)
    for row, length in enumerate(lengths.tolist()):
        chunks = [[int(rank) for rank in chunk if rank] for chunk in read[row].tolist()]
        assert [rank for chunk in chunks for rank in chunk] == list(range(1, length + 1)), "all, in order"
        assert max(map(len, chunks)) - min(map(len, chunks)) <= 1, "shared out evenly"


# --- the encoder ---


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("readout", ["last", "chunk", "chunk_mlp"])
def test_a_padded_row_has_the_latents_of_the_shorter_row_alone(readout, side, make_encoder):
    encoder = make_encoder(encoder_readout=readout)
    tokens = torch.randint(1, 10, (5, 12))
    mask = padding_mask(LENGTHS, side=side)
    together = encoder(tokens, mask).vectors
    assert together.shape == (5, 4, 3)
    for row in range(len(LENGTHS)):
        alone = encoder(tokens[row][mask[row].bool()][None]).vectors
        torch.testing.assert_close(together[row : row + 1], alone, atol=1e-5, rtol=0)
    refilled = torch.where(mask.bool(), tokens, 0)
    assert torch.equal(encoder(refilled, mask).vectors, together)


@pytest.mark.parametrize("readout", ["last", "chunk", "chunk_mlp"])
def test_every_latent_depends_on_every_token(readout, make_encoder):
    encoder = make_encoder(encoder_readout=readout)
    tokens = torch.randint(1, 10, (1, 12))
    vectors = encoder(tokens).vectors
    for place in range(12):
        changed = tokens.clone()
        changed[0, place] = tokens[0, place] % 9 + 1
        assert (encoder(changed).vectors - vectors).abs().amax(-1).min() > 1e-4


def test_hidden_tokens_leave_no_trace(make_encoder):
    encoder = make_encoder(encoder_readout="chunk")
    tokens = torch.randint(1, 10, (2, 12))
    hidden = torch.rand(2, 12) < 0.4
    other = torch.where(hidden, tokens % 9 + 1, tokens)
    masked, other_masked = (torch.where(hidden, 10, t) for t in (tokens, other))
    assert torch.equal(encoder(masked).vectors, encoder(other_masked).vectors)
    assert not torch.allclose(encoder(tokens).vectors, encoder(other).vectors, atol=1e-3)


@pytest.mark.parametrize("readout", ["last", "chunk"])
def test_fresh_latents_have_about_unit_variance(readout, tiny_model):
    overrides = {"hidden_size": 64, "latent_dim": 32, "encoder_readout": readout}
    encoder = tiny_model("continuous", **overrides).encoder
    vectors = encoder(torch.randint(1, 10, (64, 12))).vectors
    assert vectors.square().mean().item() == pytest.approx(1, rel=0.3)


@pytest.mark.parametrize("kind", ["continuous", "discrete", "vector", "gumbel"])
def test_a_text_with_fewer_tokens_than_latents_is_refused(kind, stirred_model):
    model, tokens = stirred_model(kind), torch.randint(1, 10, (2, 12))
    says = r"A text has 3 tokens, fewer than `latent_length` \(4\)"
    for encode in (model.encode, model.encode_latents):
        with pytest.raises(ValueError, match=says):
            encode(tokens[:, :3])
        for side in ("left", "right"):
            encode(tokens, padding_mask(torch.tensor([12, 4]), side=side))
            with pytest.raises(ValueError, match=says):
                encode(tokens, padding_mask(torch.tensor([12, 3]), side=side))
    pipe = LaddPipeline(model)
    assert len(pipe.encode([[1, 2, 3, 4], [1, 2, 3, 4, 5]])) == 2
    with pytest.raises(ValueError, match=says):
        pipe.encode([[1, 2, 3], [1, 2, 3, 4, 5]])


@pytest.mark.parametrize("length", [13, 20])
def test_a_text_whose_end_would_be_read_by_no_chunk_is_refused(length, make_encoder):
    encoder = make_encoder(encoder_readout="chunk")
    with pytest.raises(ValueError, match=f"{length} tokens.*`max_position_embeddings` \\(12\\)"):
        encoder(torch.randint(1, 10, (1, length)))


def test_normalised_latents_have_unit_mean_square(make_encoder):
    vectors = make_encoder(latent_normalization="l2")(torch.randint(1, 10, (6, 12))).vectors
    torch.testing.assert_close(vectors.square().mean(-1), torch.ones(6, 4))
    plain = make_encoder()(torch.randint(1, 10, (6, 12))).vectors
    assert (plain.square().mean(-1) - 1).abs().max() > 0.1


# --- the variance ---


def test_without_a_variance_the_kl_is_half_the_square_and_randomness_changes_nothing(make_encoder):
    encoder, tokens = make_encoder(), torch.randint(1, 10, (3, 12))
    encoded = encoder(tokens)
    torch.testing.assert_close(encoded.kl, 0.5 * encoded.vectors.square().sum((1, 2)))
    drawn = encoder(tokens, None, RowGenerator(torch.arange(3)))
    assert torch.equal(drawn.vectors, encoded.vectors)


@pytest.mark.parametrize("std", [0.05, 0.7, 1.0])
def test_the_kl_of_a_fixed_variance_is_that_of_the_gaussians(std, make_encoder):
    encoder = make_encoder(encoder_variance="fixed", encoder_std=std)
    encoded = encoder(torch.randint(1, 10, (3, 12)))
    expected = kl_divergence(Normal(encoded.vectors, std), Normal(0.0, 1.0)).sum((1, 2))
    torch.testing.assert_close(encoded.kl, expected)


@pytest.mark.parametrize("readout", ["last", "chunk", "chunk_mlp"])
def test_the_kl_of_a_learned_variance_is_that_of_the_gaussians(readout, make_encoder):
    encoder = make_encoder(encoder_variance="learned", encoder_readout=readout)
    tokens, attention_mask = torch.randint(1, 10, (5, 12)), padding_mask(LENGTHS)
    states = []
    handle = encoder.readout.register_forward_hook(lambda _, inputs, __: states.append(inputs[0]))
    encoded = encoder(tokens, attention_mask)
    handle.remove()
    std = (0.5 * encoder.log_variance(states[0])).exp()
    expected = kl_divergence(Normal(encoded.vectors, std), Normal(0.0, 1.0)).sum((1, 2))
    torch.testing.assert_close(encoded.kl, expected)
    encoded.kl.sum().backward()
    assert encoder.log_variance.weight.grad.abs().max() > 0


@pytest.mark.parametrize("variance", ["fixed", "learned"])
def test_an_encoder_with_a_variance_is_its_mean_unless_given_randomness(variance, make_encoder):
    encoder, tokens = make_encoder(encoder_variance=variance), torch.randint(1, 10, (3, 12))
    mean = encoder(tokens).vectors
    assert torch.equal(encoder(tokens).vectors, mean)
    one, again = (encoder(tokens, None, RowGenerator(torch.arange(3))).vectors for _ in range(2))
    other = encoder(tokens, None, RowGenerator(torch.arange(3) + 100)).vectors
    assert torch.equal(one, again)
    assert not torch.allclose(one, mean, atol=1e-3) and not torch.allclose(one, other, atol=1e-3)


def test_draws_lie_around_the_mean_with_the_fixed_deviation(make_encoder):
    encoder = make_encoder(encoder_variance="fixed", encoder_std=0.3)
    tokens = torch.randint(1, 10, (1, 12)).expand(4000, -1)
    mean = encoder(tokens[:1]).vectors
    deviations = (encoder(tokens, None, RowGenerator(torch.arange(4000))).vectors - mean) / 0.3
    number = deviations.numel()
    assert abs(deviations.mean()) < 5 / math.sqrt(number)
    assert abs(deviations.var() - 1) < 5 * math.sqrt(2 / number)


@pytest.mark.parametrize("variance", ["none", "fixed", "learned"])
def test_only_a_learned_variance_has_weights(variance, tiny_config):
    encoder = LaddEncoder(tiny_config("continuous", encoder_variance=variance))
    assert (encoder.log_variance is not None) == (variance == "learned")


@pytest.mark.parametrize("mask", [[0, 1, 0, 1], [1, 0, 0, 1], [1, 0, 1, 0]])
def test_padding_within_a_text_is_refused(mask):
    for dtype in (torch.int64, torch.bool):
        with pytest.raises(ValueError, match=r"padding within a text; .* pad it at its end or before its start"):
            row_spans(torch.tensor([[1, 1, 1, 1], mask], dtype=dtype), torch.zeros(2, 4))
