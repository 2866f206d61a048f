"""A model's anchors: found in the encoder's outputs, kept with it, and added to what the network says."""

from __future__ import annotations

import math

import pytest
import torch
from torch.distributions import Normal

from ladd_hf import LaddForDiffusionLM
from ladd_hf.models.k_means import k_means

DATA = [{"input_ids": torch.randint(1, 10, (12,), generator=torch.Generator().manual_seed(one))} for one in range(60)]


def vectors(count, seed=0):
    return torch.randn(count, 3, generator=torch.Generator().manual_seed(seed))


# --- k-means ---


def test_centres_are_the_means_of_what_is_nearest_to_them():
    points = torch.cat([vectors(300) * 0.1 + centre for centre in torch.tensor([[3.0, 0, 0], [0, 3, 0], [0, 0, 3]])])
    centres, number, distance = k_means(points, 3)
    for one in range(3):
        torch.testing.assert_close(points[number == one].mean(0), centres[one])
        assert len(points[number == one]) == 300, "three clouds far apart"
    torch.testing.assert_close(distance, (points - centres[number]).square().sum(1), rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(number, torch.cdist(points, centres).argmin(1))


def test_what_is_far_from_the_crowd_gets_centres_of_its_own():
    points = torch.cat([vectors(2000) * 0.01, vectors(8, seed=1) * 5])
    _, number, distance = k_means(points, 9)
    assert len(number.unique()) == 9
    assert distance.mean() < 0.05 * points.var(0).sum()


def test_more_centres_leave_less_distance_and_seeds_decide_alone():
    points = vectors(2000)
    errors = [float(k_means(points, count)[2].mean()) for count in (2, 8, 64)]
    assert errors[0] > errors[1] > errors[2]
    assert torch.equal(k_means(points, 8, seed=3)[0], k_means(points, 8, seed=3)[0])
    assert not torch.equal(k_means(points, 8, seed=3)[0], k_means(points, 8, seed=4)[0])


def test_fewer_different_vectors_than_centres_are_refused():
    with pytest.raises(ValueError, match="There are 2 different latents for 3 anchors: give more texts"):
        k_means(torch.eye(2, 3).repeat(50, 1), 3)


# --- the posterior ---


@pytest.mark.parametrize("snap", [True, False])
def test_without_context_the_prediction_is_the_posterior_by_bayes_rule(tiny_model, snap):
    """The head starts at zero; without snapping each anchor stands for a Gaussian of the outputs' distance to it."""
    model = tiny_model("anchors", latent_prediction_type={"name": "anchors", "count": 6, "snap": snap})
    anchors, noisy, t = model.latent_anchors, torch.randn(5, 4, 3), torch.tensor([1.0, 0.8, 0.5, 0.2, 0.05])
    output = model(torch.randint(1, 10, (5, 12)), noisy, t, t)
    share = 1e-4 + (1 - 2e-4) * (1 - t).sqrt()
    std = (1 - share + share * (0.0 if snap else anchors.spread)).sqrt()[:, None, None, None]
    density = Normal(share.sqrt()[:, None, None, None] * anchors.points, std).log_prob(noisy[:, :, None]).sum(-1)
    expected = (anchors.log_frequencies + density).log_softmax(-1)
    torch.testing.assert_close(output.latent_prediction.log_softmax(-1), expected, rtol=1e-4, atol=1e-4)
    assert output.latent_anchors is anchors.points


def test_without_snapping_the_mean_is_the_integral_over_latents_near_their_anchors(tiny_model):
    """By quadrature over the plane; the head starts at zero, so that the model knows nothing but its anchors."""
    options = {"latent_prediction_type": {"name": "anchors", "count": 6, "snap": False}, "latent_dim": 2}
    model = tiny_model("anchors", **options)
    anchors, t = model.latent_anchors, torch.tensor([1.0, 0.7, 0.3, 0.05])
    noisy = torch.randn(4, 4, 2, generator=torch.Generator().manual_seed(0))
    line = torch.linspace(-7, 7, 401, dtype=torch.float64)
    plane = torch.cartesian_prod(line, line)
    near = Normal(anchors.points, anchors.spread.sqrt()).log_prob(plane[:, None]).sum(-1)
    prior = (anchors.log_frequencies + near).logsumexp(-1)
    share = (1e-4 + (1 - 2e-4) * (1 - t.double()).sqrt())[:, None, None, None]
    density = Normal(share.sqrt() * plane, (1 - share).sqrt()).log_prob(noisy[:, :, None]).sum(-1)
    expected = (prior + density).softmax(-1) @ plane
    prediction = model(torch.randint(1, 10, (4, 12)), noisy, t, t).latent_prediction
    found = model.latent_channel.estimate(prediction, noisy, t)
    torch.testing.assert_close(found, expected.float(), rtol=1e-4, atol=1e-4)
    points = prediction.softmax(-1) @ anchors.points
    assert (found - points).abs().max() > 0.1, "else nothing was shown"


def test_frequencies_are_the_shares_of_the_latents(tiny_model):
    anchors = tiny_model("anchors").latent_anchors
    points = torch.cat([vectors(900) * 0.01, vectors(100) * 0.01 + 4])
    anchors.options = type(anchors.options)(count=6)
    anchors.find(points)
    far = anchors.points.mean(1) > 2
    assert float(anchors.log_frequencies.exp().sum()) == pytest.approx(1)
    assert float(anchors.log_frequencies[far].exp().sum()) == pytest.approx(0.1, abs=0.01)


def test_the_time_of_the_latents_is_needed(tiny_model):
    model = tiny_model("anchors", latent_time_conditioning=False)
    with pytest.raises(ValueError, match="give `latent_timesteps`"):
        model(torch.randint(1, 10, (2, 12)), torch.randn(2, 4, 3))


# --- of a model ---


def test_latents_are_snapped_once_anchors_are_found(tiny_config):
    torch.manual_seed(0)
    model = LaddForDiffusionLM(tiny_config("anchors")).eval()
    tokens = torch.stack([one["input_ids"] for one in DATA])
    before = model.encode_latents(tokens)
    assert model.needs_latent_anchors and len(before.flatten(0, 1).unique(dim=0)) > 6
    assert model.gather_latent_anchors(DATA) == 60 * 4
    after, encoded = model.encode_latents(tokens), model.encode(tokens)
    assert not model.needs_latent_anchors and len(after.flatten(0, 1).unique(dim=0)) <= 6
    nearest = torch.cdist(before.flatten(0, 1), model.latent_anchors.points).argmin(1)
    torch.testing.assert_close(after.flatten(0, 1), model.latent_anchors.points[nearest])
    torch.testing.assert_close(encoded.unquantized, before)


def test_gradients_pass_straight_through_the_choice_of_an_anchor(tiny_model):
    anchors = tiny_model("anchors").latent_anchors
    latents = torch.randn(5, 4, 3, requires_grad=True)
    snapped = anchors.snapped(latents)
    assert torch.equal(snapped, anchors.snapped(latents.detach())), "exactly the anchors"
    (snapped * 3).sum().backward()
    assert torch.equal(latents.grad, torch.full_like(latents, 3.0))


def test_without_snapping_latents_stay_what_they_are(tiny_model):
    model = tiny_model("anchors", latent_prediction_type={"name": "anchors", "count": 6, "snap": False})
    assert len(model.encode_latents(torch.randint(1, 10, (30, 12))).flatten(0, 1).unique(dim=0)) > 60


def test_anchors_are_saved_with_the_model_and_stay_in_float32(tiny_model, tmp_path):
    model = tiny_model("anchors")
    model.save_pretrained(tmp_path)
    for dtype in (torch.float32, torch.bfloat16):
        loaded = LaddForDiffusionLM.from_pretrained(tmp_path, dtype=dtype)
        for mine, its in zip(model.latent_anchors.buffers(), loaded.latent_anchors.buffers(), strict=True):
            assert torch.equal(mine, its) and its.dtype == torch.float32
        assert loaded.latent_anchors.found
    assert model.to(torch.bfloat16).latent_anchors.points.dtype == torch.float32


def test_models_without_anchors_refuse_to_find_some(tiny_model):
    with pytest.raises(ValueError, match="set `latent_prediction_type` 'anchors'"):
        tiny_model("continuous").gather_latent_anchors(DATA)
    with pytest.raises(ValueError, match="There are no texts to find anchors in"):
        tiny_model("anchors").gather_latent_anchors([])


def test_the_loss_of_the_prior_is_the_cross_entropy_of_the_nearest_anchor(tiny_model):
    model, tokens = tiny_model("anchors"), torch.randint(1, 10, (3, 12))
    channel, clean = model.latent_channel, model.encode_latents(tokens)
    t = torch.full((3,), 0.9)
    noisy = math.sqrt(0.3) * clean + math.sqrt(0.7) * torch.randn_like(clean)
    prediction = model(tokens, noisy, t, t).latent_prediction
    number = torch.cdist(clean, model.latent_anchors.points.expand(3, -1, -1)).argmin(-1)
    expected = -prediction.log_softmax(-1).gather(-1, number[..., None]).mean((1, 2))
    torch.testing.assert_close(channel.loss(prediction, clean, noisy, t), expected)


def test_autocast_takes_no_anchor_for_another(tiny_model):
    """Of bfloat16 products, over a variance of 1e-4, little would be right."""
    anchors = tiny_model("anchors").latent_anchors
    noisy, t = torch.randn(64, 4, 3), torch.full((64,), 1e-3)
    context = torch.zeros(64, 4, 6)
    expected = anchors(context, noisy, t), anchors.snapped(noisy), anchors.anchors.mean(context, noisy, t)
    with torch.autocast("cpu", torch.bfloat16):
        found = anchors(context, noisy, t), anchors.snapped(noisy), anchors.anchors.mean(context, noisy, t)
    for one, other in zip(expected, found, strict=True):
        assert torch.equal(one, other)
