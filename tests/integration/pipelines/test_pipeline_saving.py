"""A pipeline is saved and loaded as a whole, and a run leaves its model as it was."""

from __future__ import annotations

import pytest
import torch
from helpers.sampling import KINDS, MASK, WITH_LATENTS, seeded, tiny_tokenizer, watch

from ladd_hf import (
    LaddJointScheduler,
    LaddPipeline,
    LaddScheduler,
    LaddSequentialScheduler,
    NoiseProcess,
)

# --- saving and loading ---


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("with_tokenizer", [False, True])
def test_a_saved_pipeline_loads_and_gives_the_same_samples(build, kind, scheduler, with_tokenizer, tmp_path):
    pipe = build(kind, scheduler, tiny_tokenizer() if with_tokenizer else None)
    pipe.save_pretrained(tmp_path)
    loaded = LaddPipeline.from_pretrained(tmp_path)
    loaded.set_progress_bar_config(disable=True)
    assert type(loaded.scheduler) is type(pipe.scheduler)
    assert (loaded.tokenizer is not None) == with_tokenizer
    before, after = (each(num_steps=3, batch_size=2, generator=seeded()) for each in (pipe, loaded))
    assert torch.equal(before.sequences, after.sequences)
    assert before.texts == after.texts and (after.texts is not None) == with_tokenizer


def test_a_pipeline_that_is_saved_again_does_not_tell_where_it_was(build, tmp_path):
    first, second = tmp_path / "first", tmp_path / "second"
    build("discrete", "joint", tiny_tokenizer()).save_pretrained(first)
    loaded = LaddPipeline.from_pretrained(first)
    assert loaded.name_or_path == str(first)
    loaded.save_pretrained(second)
    texts = [path.read_text() for path in second.rglob("*") if path.suffix in (".json", ".py", ".md", ".txt")]
    assert len(texts) > 4 and not any(str(tmp_path) in text for text in texts)


def test_options_of_the_scheduler_are_saved_with_the_pipeline(stirred_model, tmp_path):
    own = LaddSequentialScheduler(latent_share=0.25, timestep_spacing="cosine", latent_solver="ddpm")
    LaddPipeline(stirred_model("continuous", latent_noise_schedule="cosine"), own).save_pretrained(tmp_path)
    config = LaddPipeline.from_pretrained(tmp_path).scheduler.config
    assert (config.latent_share, config.timestep_spacing, config.latent_solver) == (0.25, "cosine", "ddpm")
    assert config.noise_process["latent_noise_schedule"] == "cosine"


def test_schedulers_are_interchangeable(build):
    pipe = build("discrete", "joint")
    calls = watch(pipe.model)
    pipe.scheduler = LaddSequentialScheduler.from_config(pipe.scheduler.config)
    assert pipe(num_steps=4, generator=seeded()).nfe == 4
    assert [call.logits_rows for call in calls][:2] == [0, 0]
    pipe.scheduler = LaddJointScheduler()  # knows nothing of the model yet
    assert (pipe(num_steps=4, batch_size=4).sequences != MASK).all()


def test_without_a_scheduler_tokens_and_latents_are_written_together(stirred_model):
    assert type(LaddPipeline(stirred_model("discrete")).scheduler) is LaddJointScheduler


# --- the model is left as it is ---


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("kind", WITH_LATENTS)
def test_a_run_changes_neither_the_models_mode_nor_its_weights(build, kind, scheduler, training):
    pipe = build(kind, scheduler)
    pipe.model.train(training)
    before = {name: tensor.clone() for name, tensor in pipe.model.state_dict().items()}
    result = pipe(num_steps=4, batch_size=2, generator=seeded())
    assert all(module.training == training for module in pipe.model.modules())
    assert all(torch.equal(tensor, before[name]) for name, tensor in pipe.model.state_dict().items())
    pipe.model.train(not training)
    assert torch.equal(pipe(num_steps=4, batch_size=2, generator=seeded()).sequences, result.sequences)


@pytest.mark.parametrize("kind", ["none", "discrete", "continuous"])
def test_a_model_in_training_generates_encodes_and_is_measured_without_dropout(build, kind):
    pipe = build(kind, attention_dropout=0.5)
    texts = 1 + torch.arange(24).view(2, 12) % 9

    def everything():
        results = [pipe(num_steps=4, batch_size=8, generator=seeded()).sequences]
        results += [pipe.model.nelbo(texts, generator=seeded()).total_nats]
        return results if kind == "none" else [*results, pipe.encode(texts), pipe.model.encode_latents(texts)]

    expected = everything()
    pipe.model.train()
    for value, other in zip(everything(), expected, strict=True):
        torch.testing.assert_close(value, other, rtol=0, atol=0)
    assert all(module.training for module in pipe.model.modules())


def test_a_run_keeps_no_gradients(build):
    result = build("continuous")(num_steps=2)
    assert not result.latents.requires_grad


@pytest.mark.parametrize("guidance_scale", [1.0, 2.0])
@pytest.mark.parametrize("kind", WITH_LATENTS)
def test_a_bfloat16_model_writes_without_nan(build, kind, scheduler, guidance_scale):
    pipe = build(kind, scheduler)
    pipe.model.to(torch.bfloat16)
    result = pipe(num_steps=4, batch_size=3, generator=seeded(), guidance_scale=guidance_scale)
    assert result.sequences.min() >= 0 and result.sequences.max() < MASK
    assert torch.isfinite(result.latents.float()).all()
    again = pipe(num_steps=2, latents=result.latents, generator=seeded())
    assert again.sequences.max() < MASK


def test_the_bar_of_progress_is_shown_or_not_as_set(build, capsys):
    pipe = build("none")
    for disable in (True, False, True):
        pipe.set_progress_bar_config(disable=disable)
        pipe(num_steps=5)
        shown = capsys.readouterr().err
        assert ("5/5" in shown) != disable and bool(shown) != disable


def test_a_scheduler_that_is_assigned_takes_the_models_noise_process(stirred_model, tmp_path):
    pipe = LaddPipeline(stirred_model("discrete"))
    pipe.scheduler = LaddScheduler(path=[[1, 1], [1, 0.3], [0, 0]])
    pipe.scheduler.set_timesteps(4)
    assert pipe.scheduler.latent_times[0] == 1
    pipe.save_pretrained(tmp_path)
    saved = LaddScheduler.from_pretrained(tmp_path, subfolder="scheduler")
    assert saved.noise_process == NoiseProcess.of(pipe.model.config)
