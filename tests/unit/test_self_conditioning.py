"""With self-conditioning the last predicted y_0 is an input: of half of the examples in training, and in runs."""

from __future__ import annotations

import pytest
import torch
from helpers.model_calls import seeded, watched
from helpers.model_calls import seeded_texts as texts
from torch.distributions import Normal

from ladd_hf import (
    LaddForDiffusionLM,
    LaddPipeline,
    LaddScheduler,
    LaddSequentialScheduler,
    TrainingNoise,
    TrainingObjective,
)

KINDS = ["continuous", "separate", "anchors"]
SPOKEN = slice(1, 10)  # neither padding nor the mask token


@pytest.fixture
def model(stirred_model):
    """`model(kind, **overrides)`, whose evaluations are kept in `calls`; `contexts` are what the network said of the
    anchors in these, before frequencies and likelihoods were added."""

    def build(kind="continuous", **overrides):
        built = watched(stirred_model(kind, **{"latent_self_conditioning": True, **overrides}))
        built.contexts = {}
        if kind == "anchors":
            built.latent_anchors.register_forward_pre_hook(
                lambda _, given: built.contexts.update({len(built.calls): given[0].detach()})
            )
        return built

    return build


def mean_by_hand(model, number, t):
    """E[y_0 | y_t] that evaluation `number` predicts at times `t` `(B,)`, from what its numbers stand for."""
    noisy, prediction = (one.double() for one in (model.calls[number]["latents"], predicted(model, number)))
    a2 = 1e-4 + (1 - 2e-4) * (1 - t.double()[:, None, None]).sqrt()  # the default schedule, squeezed
    a, s = a2.sqrt(), (1 - a2).sqrt()
    anchors = model.latent_anchors
    if anchors is None:
        return (a * noisy - s * prediction if model.config.latent_prediction_type == "v" else prediction).float()
    likelihood = Normal(a[..., None] * anchors.points, s[..., None]).log_prob(noisy[:, :, None]).sum(-1)
    law = (model.contexts[number] + anchors.log_frequencies + likelihood).softmax(-1)
    return (law @ anchors.points.double()).float()


def predicted(model, number):
    return model.calls[number]["output"].latent_prediction


# Over the small variances of small times float32 knows log-probabilities to three digits.
NEAR = {"rtol": 1e-3, "atol": 1e-3}


def loss_of(model, tokens, first=0, **settings):
    noise = TrainingNoise(0, torch.arange(first, first + len(tokens)))
    objective = TrainingObjective(**{"time_distribution": "independent", **settings})
    return model(tokens, labels=tokens, objective=objective, noise=noise, loss_only=True).loss


# --- the network ---


@pytest.mark.parametrize("kind", KINDS)
def test_zeros_are_no_estimate_and_others_are_read(kind, model):
    model, tokens, latents = model(kind), texts(3), torch.randn(3, 4, 3, generator=seeded())
    times = torch.tensor([0.2, 0.5, 1.0])
    none, zeros, ones = (
        model(tokens, latents, times, times, latent_estimate=one)
        for one in (None, torch.zeros(3, 4, 3), torch.ones(3, 4, 3))
    )
    assert torch.equal(none.latent_prediction, zeros.latent_prediction) and torch.equal(none.logits, zeros.logits)
    assert (none.latent_prediction - ones.latent_prediction).abs().max() > 1e-2
    assert (none.logits - ones.logits)[..., SPOKEN].abs().max() > 1e-3


def test_an_estimate_that_is_not_read_or_does_not_fit_is_refused(stirred_model):
    tokens, latents, times = texts(3), torch.randn(3, 4, 3), torch.full((3,), 0.5)
    with pytest.raises(ValueError, match="which this model does not read: leave it out, or train"):
        stirred_model("continuous")(tokens, latents, times, times, latent_estimate=latents)
    model = stirred_model("continuous", latent_self_conditioning=True)
    with pytest.raises(ValueError, match=r"has shape \(3, 1, 3\) and `latents` \(3, 4, 3\)"):
        model(tokens, latents, times, times, latent_estimate=latents[:, :1])
    with pytest.raises(ValueError, match="'discrete', but latent_self_conditioning is set"):
        stirred_model("discrete", latent_self_conditioning=True)


def test_it_is_saved_with_the_model(stirred_model, tmp_path):
    model, tokens, latents = stirred_model("continuous", latent_self_conditioning=True), texts(3), torch.ones(3, 4, 3)
    model.save_pretrained(tmp_path)
    loaded, times = LaddForDiffusionLM.from_pretrained(tmp_path), torch.full((3,), 0.5)
    assert loaded.self_conditioning
    outputs = [one(tokens, latents, times, times, latent_estimate=latents).logits for one in (model, loaded)]
    assert torch.equal(*outputs)


# --- training ---


@pytest.mark.parametrize(
    ("kind", "prediction"),
    [("continuous", "sample"), ("continuous", "v"), ("separate", "sample"), ("separate", "v"), ("anchors", None)],
)
def test_half_of_the_examples_have_the_prediction_of_an_evaluation_without(kind, prediction, model):
    model = model(kind, **({} if prediction is None else {"latent_prediction_type": prediction}))
    loss_of(model, texts(200), latent_dropout=0.2)
    first, second = model.calls
    estimate = second["latent_estimate"]
    has_one = estimate.abs().flatten(1).amax(1) > 0
    assert 60 < int(has_one.sum()) < 100, "half of those that are not dropped"
    assert torch.equal(second["latents"][has_one], first["latents"]) and first.get("latent_estimate") is None
    assert (first["input_ids"] is None) == (kind == "separate")
    times = second["latent_timesteps"]
    assert torch.equal(times[has_one], first["latent_timesteps"]) and (times[has_one] > 0).all()
    assert not predicted(model, 0).requires_grad and not estimate.requires_grad
    expected = mean_by_hand(model, 0, first["latent_timesteps"])
    torch.testing.assert_close(estimate[has_one], expected, **NEAR)
    dropped = second["latents"].flatten(1).abs().amax(1) == 0
    assert dropped.any() and not has_one[dropped].any()


def test_an_examples_estimate_does_not_depend_on_its_batch(model):
    model, tokens = model(), texts(8)
    loss_of(model, tokens)
    for start in range(0, 8, 2):
        loss_of(model, tokens[start : start + 2], first=start)
    whole = model.calls[1]["latent_estimate"]
    parts = torch.cat([call["latent_estimate"] for call in model.calls[3::2]])
    torch.testing.assert_close(parts, whole, atol=1e-5, rtol=1e-4)
    assert 0 < int((whole.flatten(1).abs().amax(1) > 0).sum()) < 8


def test_clean_latents_and_those_that_nothing_teaches_have_none(model):
    model = model()
    loss_of(model, texts(), time_distribution="tokens")
    assert not model.calls[1]["latent_estimate"].any()
    model.calls.clear()
    loss_of(model, texts(), latent_loss_weight=0.0)
    assert len(model.calls) == 1 and model.calls[0].get("latent_estimate") is None


def test_it_draws_nothing_and_evaluates_nothing_where_it_is_off(model):
    plain = model(latent_self_conditioning=False)
    loss_of(plain, texts())
    assert len(plain.calls) == 1 and "latent_estimate" not in plain.calls[0]
    assert "estimate_proj" not in " ".join(plain.state_dict())
    other = model()
    loss_of(other, texts())
    for name in ("input_ids", "latent_timesteps", "token_timesteps"):
        assert torch.equal(other.calls[1][name], plain.calls[0][name]), "the same noise"


def test_the_blind_prediction_of_conditional_independence_has_none(model):
    model = model()
    loss_of(model, texts(), conditional_independence_weight=1.0)
    _, second, blind = model.calls
    assert second["latent_estimate"].any() and blind.get("latent_estimate") is None


@pytest.mark.parametrize("kind", KINDS)
def test_under_autocast_every_weight_keeps_its_gradient(kind, model):
    model = model(kind)
    learnt = []
    for enabled in (False, True):
        model.zero_grad()
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=enabled):
            loss = loss_of(model, texts(), latent_dropout=0.2)
        loss.backward()
        learnt.append({name for name, one in model.named_parameters() if one.grad is not None and one.grad.any()})
    assert learnt[0] == learnt[1] and any("estimate_proj" in name for name in learnt[0])


# --- runs ---


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("path", ["joint", [[1, 1], [1, 0.5], [0.5, 0.5], [0, 0]]], ids=str)
def test_a_run_keeps_the_last_estimate_and_costs_nothing_more(kind, path, model):
    if kind == "separate":
        path = "sequential"
    model = model(kind)
    pipe = LaddPipeline(model, LaddScheduler(path=path))
    pipe.set_progress_bar_config(disable=True)
    found = pipe(num_steps=9, batch_size=3, length=12, generator=seeded(), output_type="seq")
    assert found.nfe == 9 == len(model.calls)
    expected, had = None, 0
    for index, call in enumerate(model.calls):
        estimate = call.get("latent_estimate")
        assert (estimate is None) == (expected is None), index
        if expected is not None:
            torch.testing.assert_close(estimate, expected, **NEAR)
            had += 1
        t, s = (float(pipe.scheduler.latent_times[place]) for place in (index, index + 1))
        if s == 0:
            expected = None  # the latents are known
        elif s < t:
            expected = mean_by_hand(model, index, torch.full((3,), t))
    assert had >= 3
    model.calls.clear()
    idle = pipe(num_steps=9, batch_size=3, length=12, generator=seeded(), output_type="seq", skip_idle_rows=True)
    assert torch.equal(idle.sequences, found.sequences)
    torch.testing.assert_close(idle.latents, found.latents)


def test_guidance_leaves_it_out_of_the_half_without_latents(model):
    model = model()
    pipe = LaddPipeline(model, LaddScheduler(path="joint"))
    pipe(num_steps=3, batch_size=2, length=12, generator=seeded(), output_type="seq", guidance_scale=1.5)
    given, without = model.calls[1]["latent_estimate"].chunk(2)
    assert given.any() and not without.any()


def test_bounds_are_of_evaluations_without(model):
    model = model("anchors")
    model.nelbo(texts(4), path="joint", num_samples=2)
    model.nelbo(texts(4), path="sequential", run=4, num_proposals=2)
    assert len(model.calls) > 4 and all(call.get("latent_estimate") is None for call in model.calls)


def test_a_loop_by_hand_asks_the_scheduler(model):
    model = model()
    scheduler = LaddSequentialScheduler().for_model(model.config)
    scheduler.set_timesteps(4)
    latents = torch.ones(2, 4, 3)
    output = model(torch.full((2, 12), 10), latents, torch.ones(2), torch.ones(2))
    estimate = scheduler.latent_estimate(output, 0, latents)
    torch.testing.assert_close(estimate, output.latent_prediction)
    assert scheduler.latent_estimate(output, 1, latents, estimate) is None, "clean after the second step"
    assert scheduler.latent_estimate(output, 3, None) is None
