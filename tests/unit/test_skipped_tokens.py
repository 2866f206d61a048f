"""A network that skips masked tokens: its latents alone, in the model, its loss, its files and its cost."""

from __future__ import annotations

import pytest
import torch
from helpers.model_calls import gradients, some_tokens
from helpers.sampling import MASK, seeded
from torch import nn

from ladd_hf import (
    LaddForDiffusionLM,
    LaddJointScheduler,
    LaddPipeline,
    LaddSequentialScheduler,
    TrainingNoise,
    TrainingObjective,
)
from ladd_hf.diffusion.latents_alone import LatentsAlone
from ladd_hf.diffusion.step_counts import StepCounts
from ladd_hf.metrics import sampling_cost

ONE, NOISY = torch.ones(1), torch.tensor([0.7])
SKIPS = {"latent_denoiser": {"name": "shared", "skips_masked_tokens": True}}
MODELS = {
    "codes": ("alone", {}),
    "vectors": ("continuous", SKIPS),
    "anchors": ("anchors", SKIPS),
    "chunks": ("alone", {"latent_pooling": "chunk", "latent_unpooling": "chunk"}),
    "times": ("alone", {"token_time_conditioning": True, "latent_time_conditioning": True}),
    "slots": ("alone", {"latent_positions": "learned"}),
}


def noisy_latents(model, rows=3):
    shape = (rows, 4, 3) if model.config.latent_type == "continuous" else (rows, 4)
    if len(shape) == 3:
        return torch.randn(shape, generator=seeded())
    return torch.randint(0, model.config.codebook_size + 1, shape, generator=seeded())


def alone(model, latents, **options):
    with torch.no_grad():
        return model(None, latents, ONE, NOISY, **options)


@pytest.mark.parametrize("name", MODELS)
def test_latents_alone_are_the_latents_stream_of_the_same_network(name, stirred_model):
    kind, overrides = MODELS[name]
    model, plain = stirred_model(kind, **overrides), stirred_model(kind, **{**overrides, "latent_denoiser": "shared"})
    assert {key: value.shape for key, value in model.state_dict().items()} == {
        key: value.shape for key, value in plain.state_dict().items()
    }, "no weight of its own"
    latents, widths = noisy_latents(model), []
    for block in model.model.blocks:
        block.attention.register_forward_hook(lambda module, args, output: widths.append(args[0].shape[1]))
    output = alone(model, latents)
    assert widths == [4, 4] and output.logits is None and output.hidden_states is None
    assert output.latent_prediction.shape[:2] == (3, 4)
    hidden = torch.full((3, 12), MASK)
    with torch.no_grad():
        together = model(hidden, latents, ONE, NOISY)
    assert not torch.allclose(output.latent_prediction, together.latent_prediction, atol=1e-3), "tokens say something"
    one = alone(model, latents[1:2])
    torch.testing.assert_close(one.latent_prediction, output.latent_prediction[1:2], atol=1e-5, rtol=0)
    with pytest.raises(ValueError, match="runs on latents alone"):
        plain(None, latents, ONE, NOISY)


def test_the_attention_mask_says_how_long_the_texts_are(stirred_model):
    model = stirred_model("alone")
    latents = noisy_latents(model)
    whole, masked = alone(model, latents), alone(model, latents, attention_mask=torch.ones(3, 12))
    assert torch.equal(whole.latent_prediction, masked.latent_prediction)
    short = alone(model, latents, attention_mask=torch.ones(3, 6)).latent_prediction
    padded = alone(model, latents, attention_mask=(torch.arange(12) < 6).long().expand(3, -1)).latent_prediction
    torch.testing.assert_close(short, padded)
    assert not torch.allclose(short, whole.latent_prediction, atol=1e-4)
    with pytest.raises(ValueError, match=r"`attention_mask` has shape .* for latents of 3 texts"):
        alone(model, latents, attention_mask=torch.ones(2, 12))


def test_both_attention_backends_agree(stirred_model):
    model = stirred_model("alone")
    latents, found = noisy_latents(model), []
    for backend in ("eager", "sdpa"):
        model.set_attn_implementation(backend)
        found.append(alone(model, latents).latent_prediction)
    torch.testing.assert_close(*found, atol=1e-5, rtol=1e-5)


def test_it_is_saved_and_loaded(stirred_model, tmp_path):
    model = stirred_model("alone")
    model.save_pretrained(tmp_path)
    loaded = LaddForDiffusionLM.from_pretrained(tmp_path)
    assert loaded.latents_alone == "masked" and loaded.model.skips_masked_tokens
    latents = noisy_latents(model)
    assert torch.equal(alone(loaded, latents).latent_prediction, alone(model, latents).latent_prediction)


@pytest.mark.parametrize("name", ["codes", "anchors", "chunks"])
def test_a_batch_of_mixed_rows_is_evaluated_as_its_rows(name, stirred_model):
    kind, overrides = MODELS[name]
    model = stirred_model(kind, **overrides)
    tokens = torch.full((4, 12), MASK)
    tokens[1, :3] = 4
    times = torch.tensor([1.0, 1.0, 0.6, 1.0]), torch.tensor([0.8, 0.8, 0.8, 0.3])
    asked = torch.zeros(4, 12, dtype=torch.bool)
    asked[2:, 5] = True
    latents, rule = noisy_latents(model, 4), LatentsAlone.of(model)

    def found(rows):
        of_rows = {"token_timesteps": times[0][rows], "latent_timesteps": times[1][rows], "logits_mask": asked[rows]}
        with torch.no_grad():
            return rule.evaluate(model.denoise, tokens[rows], latents[rows], **of_rows)

    together = found(slice(None))
    rows = [found(slice(row, row + 1)) for row in range(4)]
    predictions = torch.cat([one.latent_prediction for one in rows])
    torch.testing.assert_close(together.latent_prediction, predictions, atol=1e-5, rtol=0)
    logits = torch.cat([one.logits for one in rows if one.logits is not None])
    torch.testing.assert_close(together.logits[:, 1:MASK], logits[:, 1:MASK], atol=1e-5, rtol=0)


# --- training ---


@pytest.mark.parametrize("distribution", ["sequential", "independent"])
def test_a_batch_has_the_loss_and_the_gradients_of_its_examples(distribution, stirred_model):
    objective = TrainingObjective(
        time_distribution=distribution, fully_masked_share=0.5 * (distribution == "independent"), latent_dropout=0.2
    )
    model, tokens = stirred_model("alone").train(), some_tokens(6)
    everything = torch.ones_like(tokens, dtype=torch.bool)
    dropped = TrainingNoise(0, torch.arange(6)).drops_latents(0.2)
    counts = StepCounts.of_batch(everything, dropped)

    def loss(rows):
        noise = TrainingNoise(0, torch.arange(6)[rows])
        options = {"objective": objective, "noise": noise, "counts": counts, "loss_only": True}
        return model(tokens[rows], labels=tokens[rows], **options).loss

    whole = gradients(model, loss(slice(None)))
    parts = gradients(model, sum(loss(slice(row, row + 1)) for row in range(6)))
    assert whole.keys() == parts.keys() == dict(model.named_parameters()).keys() - _without_gradient(model)
    for name, gradient in whole.items():
        torch.testing.assert_close(gradient, parts[name], atol=1e-5, rtol=1e-4, msg=name)


def _without_gradient(model):
    """Weights that no loss reaches in a plain model either."""
    tokens = some_tokens(6)
    model.latents_alone, before = "never", model.latents_alone
    noise = TrainingNoise(0, torch.arange(6))
    found = gradients(model, model(tokens, labels=tokens, noise=noise, loss_only=True).loss)
    model.latents_alone = before
    return dict(model.named_parameters()).keys() - found.keys()


def test_examples_without_a_loss_of_tokens_are_evaluated_without_them(stirred_model):
    model, tokens = stirred_model("alone").train(), some_tokens(40)
    positions = []
    model.model.blocks[0].attention.register_forward_hook(
        lambda module, args, output: positions.append(args[0].shape[:2])
    )
    objective = TrainingObjective(time_distribution="sequential")
    model(tokens, labels=tokens, noise=TrainingNoise(0, torch.arange(40)), objective=objective, loss_only=True)
    assert positions == [(20 + 1, 4), (20 + 1, 16)], "half of the examples each, and a spare one"


# --- sampling ---


def quiet(model, scheduler):
    pipe = LaddPipeline(model, scheduler)
    pipe.set_progress_bar_config(disable=True)
    return pipe


def test_a_step_of_latents_costs_the_latents(stirred_model):
    """2 M (in out) for each linear map of the latents' stream, and 4 M^2 H for the two products of an attention."""
    model = stirred_model("alone")
    latent = [
        one
        for name, one in model.model.named_modules()
        if isinstance(one, nn.Linear) and (".latent" in name or name.startswith("latent_input"))
    ]
    of_one = sum(2 * 4 * one.in_features * one.out_features for one in latent)
    of_one += model.config.num_hidden_layers * 4 * 4**2 * model.config.hidden_size
    cost = sampling_cost(quiet(model, LaddSequentialScheduler()), 8, generator=seeded())
    plain = sampling_cost(quiet(stirred_model("discrete"), LaddSequentialScheduler()), 8, generator=seeded())
    assert cost.latent_flops == pytest.approx(4 * of_one)
    assert cost.token_flops == plain.token_flops and cost.latent_flops < 0.3 * plain.latent_flops
    assert cost.nfe == cost.row_evaluations == 8


def test_the_first_step_of_a_joint_run_is_two_evaluations_of_a_row(stirred_model):
    pipe = quiet(stirred_model("alone"), LaddJointScheduler())
    run = pipe(num_steps=2, batch_size=64, generator=seeded())
    assert run.nfe == 2 and 3 * 64 - 4 <= run.row_evaluations <= 3 * 64, "unless it reveals no token"
    given = pipe(num_steps=2, batch_size=4, latents=run.latents[:4], generator=seeded())
    assert given.row_evaluations == 2 * 4, "clean latents are not predicted"


@pytest.mark.parametrize("scheduler", [LaddJointScheduler, LaddSequentialScheduler])
def test_samples_do_not_depend_on_their_batch(scheduler, stirred_model):
    pipe = quiet(stirred_model("alone"), scheduler())
    prompts = [[MASK] * 3, [4, 5], [MASK] * 2, [7]]
    options = {"num_steps": 6, "length": [12, 12, 9, 8]}
    together = pipe(prompts, generator=[seeded(row) for row in range(4)], **options)
    for row in range(4):
        single = {**options, "length": options["length"][row]}
        one = pipe([prompts[row]], generator=[seeded(row)], **single)
        end = single["length"]
        assert torch.equal(one.sequences[0, :end], together.sequences[row, :end])
        assert torch.equal(one.latents[0], together.latents[row])
