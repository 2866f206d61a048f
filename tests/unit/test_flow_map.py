"""A model with `latent_flow_map` is told where steps lead: nothing changes until it is distilled."""

from __future__ import annotations

import pytest
import torch
from helpers.model_calls import seeded, watched
from helpers.model_calls import seeded_texts as texts

from ladd_hf import (
    LaddConfig,
    LaddForDiffusionLM,
    LaddPipeline,
    LaddScheduler,
    LaddSequentialScheduler,
    Stage,
    TrainingNoise,
    TrainingObjective,
)
from ladd_hf.diffusion import noising, training_loss

ALONE = {"latent_denoiser": {"name": "shared", "skips_masked_tokens": True}}
WHOLE = {"global_latents": 2, "encoder_readout": "chunk_mlp", "latent_pooling": "chunk", "latent_unpooling": "chunk"}
KINDS = {
    "shared": ("continuous", {}),
    "separate": ("separate", {}),
    "alone": ("continuous", ALONE),
    "global": ("continuous", WHOLE),
}
PREDICTIONS = ["sample", "epsilon", "v", {"name": "preconditioned", "data_std": 0.7}]


@pytest.fixture
def model(stirred_model):
    """`model(kind, **overrides)`, whose evaluations are kept in `calls`."""

    def build(kind="shared", **overrides):
        base, settings = KINDS[kind]
        return watched(stirred_model(base, **{"latent_flow_map": True, **settings, **overrides}))

    return build


def loss_of(model, tokens, first=0, teacher=None, **settings):
    noise = TrainingNoise(0, torch.arange(first, first + len(tokens)))
    objective = TrainingObjective(
        **{"time_distribution": "independent", "fully_masked_share": 0.5, "meanflow_share": 0.75, **settings}
    )
    return model(tokens, labels=tokens, objective=objective, noise=noise, loss_only=True, teacher=teacher)


def called(model, tokens, latents, t, r=None):
    output = model(tokens, latents, t, t, latent_target_timesteps=r)
    return output.latent_prediction, output.logits


# --- the network ---


@pytest.mark.parametrize("kind", KINDS)
def test_a_model_saved_without_it_is_the_same_bit_for_bit_until_it_is_distilled(kind, stirred_model, tmp_path):
    base, settings = KINDS[kind]
    plain = stirred_model(base, **settings)
    plain.save_pretrained(tmp_path / "plain")
    model = LaddForDiffusionLM.from_pretrained(tmp_path / "plain", latent_flow_map=True)
    tokens, latents, t = texts(3), torch.randn(3, 4, 3, generator=seeded()), torch.tensor([0.2, 0.5, 1.0])
    for one, other in zip(called(plain, tokens, latents, t), called(model, tokens, latents, t, t / 2), strict=True):
        assert torch.equal(one, other)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "jump_embedding" in name:
                weight.add_(0.3)
    for one, other in zip(called(plain, tokens, latents, t), called(model, tokens, latents, t, t), strict=True):
        assert torch.equal(one, other), "a jump of no length"
    assert (called(plain, tokens, latents, t)[0] - called(model, tokens, latents, t, t / 2)[0]).abs().max() > 1e-3
    model.save_pretrained(tmp_path / "distilled")
    again = LaddForDiffusionLM.from_pretrained(tmp_path / "distilled")
    assert again.flow_map
    for one, other in zip(
        called(model, tokens, latents, t, t / 2), called(again, tokens, latents, t, t / 2), strict=True
    ):
        assert torch.equal(one, other)


@pytest.mark.parametrize("kind", ["shared", "separate"])
def test_what_a_model_saved_without_it_is_given_is_always_the_same(kind, stirred_model, torch_seed, tmp_path):
    base, settings = KINDS[kind]
    stirred_model(base, **settings).save_pretrained(tmp_path / "plain")
    loaded = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        loaded.append(LaddForDiffusionLM.from_pretrained(tmp_path / "plain", latent_flow_map=True))
    one, other = (model.state_dict() for model in loaded)
    assert all(torch.equal(weight, other[name]) for name, weight in one.items())
    (name,) = (name for name in one if name.endswith("jump_embedding.up_proj.weight"))
    assert one[name].std() == pytest.approx(loaded[0].config.initializer_range, rel=0.2)
    torch.manual_seed(3)
    assert torch.equal(LaddForDiffusionLM(loaded[0].config).state_dict()[name], one[name])
    with torch.no_grad():
        loaded[0].get_parameter(name).add_(1)
    loaded[0].save_pretrained(tmp_path / "trained")
    again = LaddForDiffusionLM.from_pretrained(tmp_path / "trained")
    assert torch.equal(again.get_parameter(name), loaded[0].get_parameter(name)), "trained ones are kept"


def test_only_its_own_weights_may_be_missing(stirred_model, tmp_path):
    stirred_model("continuous").save_pretrained(tmp_path)
    with pytest.raises(ValueError, match=r"it lacks model.latent_input.estimate_proj.weight"):
        LaddForDiffusionLM.from_pretrained(tmp_path, latent_self_conditioning=True)
    with pytest.raises(ValueError, match=r"has .*jump_embedding.* besides"):
        stirred_model("continuous", latent_flow_map=True).save_pretrained(tmp_path)
        LaddForDiffusionLM.from_pretrained(tmp_path, latent_flow_map=False)


@pytest.mark.parametrize(
    ("kind", "settings", "said"),
    [
        ("discrete", {}, "'discrete', but latent_flow_map is set"),
        ("anchors", {}, "of 'anchors' one is drawn in each step: give another `latent_prediction_type`"),
        ("continuous", {"latent_self_conditioning": True}, "makes it depend on the last step: leave one of them out"),
        ("continuous", {"latent_time_conditioning": False}, "not conditioned: set `latent_time_conditioning`"),
    ],
)
def test_what_it_does_not_go_with_is_refused(kind, settings, said, tiny_config):
    with pytest.raises(ValueError, match=said):
        tiny_config(kind, latent_flow_map=True, **settings)


def test_targets_that_are_not_read_or_do_not_fit_are_refused(model, stirred_model):
    tokens, latents, t = texts(3), torch.randn(3, 4, 3), torch.full((3,), 0.5)
    with pytest.raises(ValueError, match="which this model does not read: leave it out, or load"):
        called(stirred_model("continuous"), tokens, latents, t, t)
    one = model()
    with pytest.raises(ValueError, match=r"holds 0.6 for latents at 0.5: a step leads to less noise"):
        called(one, tokens, latents, t, t + 0.1)
    with pytest.raises(ValueError, match=r"`latent_target_timesteps` has shape \(2,\) for a batch of 3"):
        called(one, tokens, latents, t, t[:2])
    with pytest.raises(ValueError, match="without `latents` at `latent_timesteps`"):
        one(tokens, None, t, None, latent_target_timesteps=t)


# --- the loss ---


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("prediction", PREDICTIONS, ids=str)
@pytest.mark.parametrize("teacher", ["average", "data"])
def test_jumps_are_trained_and_the_rest_is_as_it_was(kind, prediction, teacher, model):
    one = model(kind, latent_prediction_type=prediction)
    found = loss_of(one, texts(), meanflow_teacher=teacher)
    assert {"token_loss", "latent_loss", "meanflow_loss"} <= set(found.loss_parts)
    assert all(value.isfinite() and value > 0 for value in found.loss_parts.values())
    found.loss.backward()
    moved = {name for name, weight in one.named_parameters() if weight.grad is not None and weight.grad.any()}
    assert any("jump_embedding" in name for name in moved)
    assert "meanflow_loss" not in loss_of(one, texts(), meanflow_share=0.0).loss_parts


def test_the_draw_of_tokens_and_of_other_rows_stays(model):
    one = model()
    for share in (0.0, 0.75):
        loss_of(
            one, texts(200), meanflow_share=share, latent_dropout=0.2, meanflow_teacher="data", meanflow_time_std=1.0
        )
    plain, told = one.calls[:2]
    assert torch.equal(plain["input_ids"], told["input_ids"])
    assert torch.equal(plain["token_timesteps"], told["token_timesteps"])
    t, r = told["latent_timesteps"], told["latent_target_timesteps"]
    jumps = r < t
    assert 90 < int(jumps.sum()) < 150, "three in four of those that are not dropped"
    assert torch.equal(plain["latents"][~jumps], told["latents"][~jumps]) and torch.equal(r[~jumps], t[~jumps])
    first = t[jumps] > 0.98
    assert 10 < int(first.sum()) < 60 and (r >= 0).all()
    dropped = told["latents"].flatten(1).abs().amax(1) == 0
    assert dropped.any() and not (dropped & jumps).any()
    logits = torch.logit(torch.stack([t, r])[:, jumps][:, ~first])
    assert logits.mean() == pytest.approx(-1, abs=0.3) and logits.std() == pytest.approx(1, abs=0.3)


def test_resting_latents_with_noise_do_not_jump(model, monkeypatch):
    one, keys = model(), {}

    def watch(module, name):
        call = getattr(module, name)
        monkeypatch.setattr(module, name, lambda *args: keys.update({name: args[-1].keys}) or call(*args))

    watch(training_loss, "draw_jumps")
    watch(noising, "later_latents")
    settings = {"time_distribution": "sequential", "fully_masked_share": 0.0, "latent_noise_time": 0.5}
    for share in (1.0, 0.0):
        loss_of(one, texts(40), meanflow_share=share, meanflow_teacher="data", **settings)
    told, plain = one.calls[0], one.calls[-1]
    t, r = told["latent_timesteps"], told["latent_target_timesteps"]
    rests = told["token_timesteps"] < 1
    assert rests.any() and (t[rests] > 0).all() and torch.equal(t[rests], plain["latent_timesteps"][rests])
    assert torch.equal(r[rests], t[rests]) and (r < t)[~rests].all()
    assert not (keys["draw_jumps"] == keys["later_latents"]).any(), "numbers of their own"


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("teacher", ["average", "data"])
def test_a_loss_does_not_depend_on_how_its_batch_is_cut(kind, teacher, model):
    one, tokens = model(kind), texts(12)
    whole = loss_of(one, tokens, meanflow_teacher=teacher).loss_parts["meanflow_loss"]
    parts = [
        loss_of(one, tokens[at : at + 3], first=at, meanflow_teacher=teacher).loss_parts["meanflow_loss"]
        for at in range(0, 12, 3)
    ]
    torch.testing.assert_close(torch.stack(parts).mean(), whole)


def test_a_warm_up_begins_with_the_prediction_of_the_teacher(model):
    """With none of the derivative the target is the mean of y_0, whatever r is."""
    one = model("separate")
    with torch.no_grad():
        for name, weight in one.named_parameters():
            if "jump_embedding" in name:
                weight.zero_()
    cold, warm = (loss_of(one, texts(), meanflow_tangent=share).loss_parts["meanflow_loss"] for share in (0.0, 1.0))
    assert cold < 1e-10 < warm


def test_another_model_may_teach(model):
    one, other = model("separate"), model("separate", latent_prediction_type="v")
    own, taught, data = (
        loss_of(one, texts(), teacher=teacher, meanflow_teacher=source).loss_parts["meanflow_loss"]
        for teacher, source in ((None, "average"), (other, "average"), (other, "data"))
    )
    assert other.calls and not torch.equal(own, taught) and not torch.equal(taught, data)
    assert all(call.get("latent_target_timesteps") is None for call in other.calls)


@pytest.mark.parametrize("kind", KINDS)
def test_under_autocast_and_with_dropout_every_weight_keeps_its_gradient(kind, model):
    one = model(kind, attention_dropout=0.1).train()
    learnt = []
    for enabled in (False, True):
        one.zero_grad()
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=enabled):
            loss = loss_of(one, texts()).loss
        loss.backward()
        learnt.append(
            {name for name, weight in one.named_parameters() if weight.grad is not None and weight.grad.any()}
        )
    assert learnt[0] == learnt[1] and any("jump_embedding" in name for name in learnt[0])
    assert one.training and one.config._attn_implementation == "sdpa"


def test_derivatives_by_time_are_those_of_averaged_sinusoids(model):
    """Fast sinusoids, which tell neighbouring times apart, do not drown what the network has learnt."""
    embedding = model("separate").latent_denoiser.time_embedding
    times = torch.tensor([0.3, 0.7], dtype=torch.float64)
    values, slopes = [], []
    for smooth in (False, True):
        embedding.smooth = smooth
        with torch.autograd.forward_ad.dual_level():
            dual = torch.autograd.forward_ad.make_dual(times, torch.ones_like(times))
            value, slope = torch.autograd.forward_ad.unpack_dual(embedding(dual))
        values.append(value)
        slopes.append(float(slope.detach().abs().mean()))
    assert torch.equal(*values) and slopes[1] < 0.2 * slopes[0]


@pytest.mark.parametrize("schedule", ["sqrt", "cosine", "linear", "polynomial", "tan", "table"])
@pytest.mark.parametrize("teacher", ["average", "data"])
@pytest.mark.parametrize("rest", [{"latent_dropout": 1.0}, {"time_distribution": "tokens"}], ids=["t = 1", "t = 0"])
def test_a_batch_without_jumps_has_finite_gradients_and_no_loss_of_them(schedule, teacher, rest, model):
    one = model("separate", latent_noise_schedule=schedule, latent_prediction_type="v")
    found = loss_of(one, texts(1), meanflow_teacher=teacher, meanflow_share=1.0, **rest)
    assert found.loss.isfinite() and found.loss_parts["meanflow_loss"] == 0
    found.loss.backward()
    assert all(weight.grad.isfinite().all() for weight in one.parameters() if weight.grad is not None)


def test_without_a_weight_there_are_no_jumps(model):
    one = model("separate")
    found = loss_of(one, texts(), latent_loss_weight=0.0)
    assert "meanflow_loss" not in found.loss_parts and len(one.calls) == 1
    assert one.calls[0].get("latent_target_timesteps") is None
    assert TrainingObjective(meanflow_share=0.5).asks_average
    assert not TrainingObjective(meanflow_share=0.5, latent_loss_weight=0.0).asks_average
    assert not TrainingObjective(meanflow_share=0.5, tokens_alone=True).asks_average
    assert Stage("encoder").complete().objective["meanflow_share"] == 0


def test_objectives_that_do_not_go_with_it_are_refused(stirred_model):
    with pytest.raises(ValueError, match=r"`meanflow_share` is 0.75, but this model does not .*`latent_flow_map=True`"):
        loss_of(stirred_model("continuous"), texts())
    with pytest.raises(ValueError, match=r"`meanflow_share` is 0.5, which does nothing for a model"):
        TrainingObjective(meanflow_share=0.5).check_fits("discrete")
    with pytest.raises(ValueError, match=r"`adaptive_times` is set, and `meanflow_share` is 0.5"):
        TrainingObjective(meanflow_share=0.5, adaptive_times=True)
    with pytest.raises(ValueError, match="give 'average' or 'model' or 'data'"):
        TrainingObjective(meanflow_teacher="ema")


# --- runs ---


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("renoising", [0.0, 0.8])
def test_a_run_tells_the_network_where_each_step_leads(kind, renoising, model):
    one = model(kind)
    pipe = LaddPipeline(one, LaddSequentialScheduler(latent_renoising=renoising))
    found = pipe(num_steps=6, batch_size=3, length=12, generator=seeded(), output_type="seq")
    assert found.nfe == 6 == len(one.calls)
    times, channel = pipe.scheduler.latent_times, pipe.scheduler._latents
    for call, t, s in zip(one.calls, times[:-1].tolist(), times[1:].tolist(), strict=True):
        target = call.get("latent_target_timesteps")
        if s == t:
            assert target is None
        else:
            assert float(target) == pytest.approx(channel.jump_time(s) if s > 0 else 0.0)
            assert s == 0 or (float(target) < s) == (renoising > 0)
    plain = model(kind, latent_flow_map=False)
    LaddPipeline(plain, LaddSequentialScheduler(latent_renoising=renoising))(
        num_steps=6, batch_size=3, length=12, generator=seeded(), output_type="seq"
    )
    assert len(plain.calls) == 6 and all(call.get("latent_target_timesteps") is None for call in plain.calls)


def test_solvers_that_are_not_the_jump_are_given_the_mean(model):
    found = {}
    for solver in ("ddim", "ddpm"):
        one = model()
        pipe = LaddPipeline(one, LaddSequentialScheduler(latent_solver=solver))
        pipe(num_steps=6, batch_size=2, length=12, generator=seeded(), output_type="seq")
        found[solver] = [call.get("latent_target_timesteps") is not None for call in one.calls]
    assert any(found["ddim"]) and not any(found["ddpm"]) and len(found["ddpm"]) == 6


def test_guidance_and_idle_rows_keep_it(model):
    one = model()
    pipe = LaddPipeline(one, LaddScheduler(path="joint"))
    options = {"num_steps": 3, "batch_size": 2, "length": 12, "output_type": "seq"}
    pipe(**options, generator=seeded(), guidance_scale=1.5)
    guided = next(call for call in one.calls if call.get("latent_target_timesteps") is not None)
    t, r = guided["latent_timesteps"], guided["latent_target_timesteps"]
    assert r.shape == (4,) and (r[:2] < t[:2]).all() and (t[2:] == 1).all() and (r[2:] == 1).all()
    whole = pipe(**options, generator=seeded())
    idle = pipe(**options, generator=seeded(), skip_idle_rows=True)
    assert torch.equal(idle.sequences, whole.sequences)


def test_bounds_are_of_evaluations_without(model):
    one = model()
    one.nelbo(texts(4), path="joint", num_samples=2)
    assert one.calls and all(call.get("latent_target_timesteps") is None for call in one.calls)


def test_steps_of_latents_and_of_tokens_are_shared_as_asked():
    scheduler = LaddScheduler(path="sequential", steps=[2, 6]).for_model(
        LaddConfig(vocab_size=3, latent_type="continuous", latent_length=1, latent_dim=1, max_position_embeddings=8)
    )
    scheduler.set_timesteps(8)
    assert [scheduler.moves_latents(step) for step in range(8)] == [True] * 2 + [False] * 6
