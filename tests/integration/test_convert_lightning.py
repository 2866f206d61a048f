"""Checkpoints of the authors' research code become models that predict the same."""

from __future__ import annotations

import copy

import pytest
import torch
from helpers.dit_networks import MDLM, Codebook, Encoder, JointDenoiser, LatentDenoiser, stirred
from helpers.traps import Trap
from torch import nn

from ladd_hf import LaddForDiffusionLM
from ladd_hf.convert.lightning import convert_lightning

UNTOLD = {"latent_length": 4, "max_position_embeddings": 12}
TOKENS = torch.randint(0, 11, (3, 12), generator=torch.Generator().manual_seed(1))
LATENTS = torch.randn(3, 4, 3, generator=torch.Generator().manual_seed(2))
CODES = torch.randint(0, 9, (3, 4), generator=torch.Generator().manual_seed(3))
TIMES = torch.tensor([0.0, 0.3, 0.98]), torch.tensor([0.9, 0.05, 0.5])


def lightning_module(kind, **options):
    """The networks of a research run, under the names they have there."""
    module = nn.Module()
    if kind == "mdlm":
        module.model = stirred(MDLM())
        return module
    module.joint_denoiser = stirred(JointDenoiser(out=9 if kind == "discrete" else 3, **options), seed=1)
    module.encoder = stirred(Encoder(normalized=kind != "discrete"), seed=2)
    if kind == "separate":
        module.latent_denoiser = stirred(LatentDenoiser(), seed=3)
    if kind == "discrete":
        module.vector_quantizer = stirred(Codebook(), seed=4)
    return module


def save(module, path, **others):
    torch.save({"state_dict": module.state_dict(), "epoch": 3, "global_step": 17, **others}, path)
    return path


def average(network, by=0.5):
    """A network's state of averaged weights, as the research code keeps it."""
    return {"decay": 0.9999, "shadow_params": [by * weight.detach() for weight in network.parameters()]}


def convert(module, path, weights="last", others=None, **options):
    return convert_lightning(save(module, path, **(others or {})), weights=weights, **{**UNTOLD, **options})


def agree(model, module, token_times=None, latent_times=None):
    """Tokens and latents are predicted alike at several lengths."""
    vectors = LATENTS
    if model.config.latent_type == "discrete":
        vectors = module.vector_quantizer.vectors(CODES)
    given = CODES if model.config.latent_type == "discrete" else LATENTS
    for length in (1, 5, 12):
        with torch.no_grad():
            logits, latents = module.joint_denoiser(TOKENS[:, :length], vectors, token_times, latent_times)
            output = model(TOKENS[:, :length], given, token_times, latent_times)
        torch.testing.assert_close(output.logits[..., :10], logits[..., :10], atol=1e-5, rtol=0)
        assert (output.logits[..., 10] == -torch.inf).all()
        if model.config.separate_latent_denoiser:
            with torch.no_grad():
                latents = module.latent_denoiser(LATENTS, latent_times)
        if model.config.latent_type == "discrete":
            latents = latents[..., :8]
        torch.testing.assert_close(output.latent_prediction, latents, atol=1e-5, rtol=0)


# --- what they predict ---


@pytest.mark.parametrize("slots", [None, 4])
def test_codes_and_tokens_are_predicted_alike(slots, tmp_path):
    module = lightning_module("discrete", slots=slots)
    model = convert(module, tmp_path / "last.ckpt")
    assert model.config.latent_positions == ("learned" if slots else "concatenated")
    assert (model.config.codebook_size, model.config.latent_dim) == (8, 3) and not model.training
    agree(model, module)


@pytest.mark.parametrize("slots", [None, 4])
def test_continuous_latents_are_predicted_alike_at_all_times(slots, tmp_path):
    module = lightning_module("continuous", slots=slots)
    model = convert(module, tmp_path / "last.ckpt")
    agree(model, module, latent_times=TIMES[1])
    agree(model, module, latent_times=TIMES[0])


@pytest.mark.parametrize("kind", ["continuous", "discrete"])
@pytest.mark.parametrize("told", [(True, True), (True, False), (False, True), (False, False)])
def test_whichever_times_the_network_is_told(kind, told, tmp_path):
    module = lightning_module(kind)
    options = dict(zip(("token_time_conditioning", "latent_time_conditioning"), told, strict=True))
    model = convert(module, tmp_path / "last.ckpt", **options)
    agree(model, module, *(times if one else None for times, one in zip(TIMES, told, strict=True)))


def test_a_latent_denoiser_of_its_own_predicts_alike(tmp_path):
    module = lightning_module("separate")
    model = convert(module, tmp_path / "last.ckpt")
    assert model.config.separate_latent_denoiser and model.config.latent_denoiser_num_layers == 3
    agree(model, module, latent_times=TIMES[1])


def test_texts_have_the_same_latents(tmp_path):
    for kind, normalization in (("continuous", "unit"), ("discrete", "none")):
        module = lightning_module(kind)
        model = convert(module, tmp_path / "last.ckpt")
        assert model.config.latent_normalization == normalization
        with torch.no_grad():
            expected = module.encoder(TOKENS)
        if kind == "discrete":
            assert torch.equal(model.encode_latents(TOKENS), module.vector_quantizer.nearest(expected))
            assert len(model.encode_latents(TOKENS).unique()) > 1
        else:
            torch.testing.assert_close(model.encode_latents(TOKENS), expected, atol=1e-5, rtol=0)


def test_the_baseline_is_converted_too(tmp_path):
    module = lightning_module("mdlm")
    path = save(module, tmp_path / "last.ckpt", ema_state_dict=average(module.model))
    model = convert_lightning(path, weights="last", max_position_embeddings=12, token_time_conditioning=False)
    with torch.no_grad():
        torch.testing.assert_close(model(TOKENS).logits[..., :10], module.model(TOKENS)[..., :10], atol=1e-5, rtol=0)
    assert model.config.latent_type == "none"


@pytest.mark.parametrize("kind", ["continuous", "separate", "discrete"])
def test_a_converted_model_trains_on_is_saved_and_loaded(kind, tmp_path):
    module = lightning_module(kind)
    model = convert(module, tmp_path / "last.ckpt").train()
    loss = model(TOKENS.clamp(max=9), labels=TOKENS.clamp(max=9), loss_only=True).loss
    loss.backward()
    assert loss.isfinite() and model.encoder.blocks[0].streams["token"].modulation.bias.grad.abs().sum() > 0
    model = convert(module, tmp_path / "last.ckpt")
    model.save_pretrained(tmp_path / "ours")
    agree(LaddForDiffusionLM.from_pretrained(tmp_path / "ours"), module, latent_times=TIMES[1] * (kind != "discrete"))


# --- which weights ---


def test_averaged_weights_are_preferred(tmp_path):
    module = lightning_module("discrete")
    averages = {f"{name}_ema_state_dict": average(getattr(module, name)) for name in ("joint_denoiser", "encoder")}
    path = save(module, tmp_path / "last.ckpt", **averages)
    agree(convert_lightning(path, weights="last", **UNTOLD), module)
    averaged = copy.deepcopy(module)
    with torch.no_grad():
        for network in (averaged.joint_denoiser, averaged.encoder):
            for weight in network.parameters():
                weight.mul_(0.5)
    model = convert_lightning(path, **UNTOLD)
    agree(model, averaged)
    expected = averaged.vector_quantizer.nearest(averaged.encoder(TOKENS))
    assert torch.equal(model.encode_latents(TOKENS), expected)


@pytest.mark.parametrize("as_list", [True, False])
def test_averaged_weights_of_the_whole_module_are_read(as_list, tmp_path):
    module = lightning_module("mdlm")
    average_ = average(module)
    path = save(module, tmp_path / "last.ckpt", ema=average_["shadow_params"] if as_list else average_)
    model = convert_lightning(path, max_position_embeddings=12, token_time_conditioning=False)
    with torch.no_grad():
        for weight in module.parameters():
            weight.mul_(0.5)
    torch.testing.assert_close(model(TOKENS).logits[..., :10], module.model(TOKENS)[..., :10], atol=1e-5, rtol=0)


def test_names_of_a_compiled_module_are_understood(tmp_path):
    module = lightning_module("continuous")
    state = {name.replace("denoiser.", "denoiser._orig_mod."): w for name, w in module.state_dict().items()}
    torch.save({"state_dict": state}, tmp_path / "compiled.ckpt")
    agree(convert_lightning(tmp_path / "compiled.ckpt", weights="last", **UNTOLD), module, latent_times=TIMES[1])


@pytest.mark.parametrize("absent", [True, False])
def test_without_an_encoder_the_rest_is_the_same(absent, tmp_path):
    module = lightning_module("discrete")
    if absent:
        whole, module = module, lightning_module("discrete")
        del module.encoder
        model = convert(module, tmp_path / "last.ckpt")
        module.encoder = whole.encoder
    else:
        module.encoder.foreign = nn.Linear(2, 2)
        model = convert(module, tmp_path / "last.ckpt", without_encoder=True)
    agree(model, module)
    assert model.encoder is not None


def test_plain_hyper_parameters_tell_the_settings(tmp_path):
    module = lightning_module("continuous")
    joint = {"num_attention_heads": 2, "y_num_patches": 4, "x_time_type": "time", "y_time_type": "time"}
    hyper_parameters = {
        "sequence_length": 12,
        "joint_denoiser_config": {"target": "a.B", "params": {"config": {"target": "a.C", "params": joint}}},
        "encoder_config": {"params": {"config": {"params": {"normalize_embeddings": True}}}},
    }
    path = save(module, tmp_path / "last.ckpt", hyper_parameters=hyper_parameters)
    model = convert_lightning(path, weights="last")
    assert model.config.max_position_embeddings == 12 and model.config.latent_length == 4
    agree(model, module, *TIMES)
    joint["y_time_type"] = "noise"
    refused("`y_time_type` 'noise'", save(module, tmp_path / "noise.ckpt", hyper_parameters=hyper_parameters))


# --- what is refused ---


def refused(match, path, weights="last", **options):
    with pytest.raises(ValueError, match=match) as caught:
        convert_lightning(path, weights=weights, **options)
    return str(caught.value)


def test_all_missing_unknown_and_mis_shaped_weights_are_named_at_once(tmp_path):
    module = lightning_module("discrete")
    del module.joint_denoiser.blocks[1].qkv_y, module.encoder.final_layer.linear.bias
    module.joint_denoiser.y_head = nn.Linear(2, 2, bias=False)
    module.vector_quantizer.z_mask = nn.Parameter(torch.zeros(5))
    message = refused("does not fit", save(module, tmp_path / "bad.ckpt"), **UNTOLD)
    assert "missing: joint_denoiser.blocks.1.qkv_y.weight, encoder.final_layer.linear.bias;" in message
    assert "mis-shaped: vector_quantizer.z_mask (5,) instead of (3,);" in message
    assert "unknown: joint_denoiser.y_head.weight." in message


def test_only_what_no_prediction_depends_on_is_left_out_and_said(tmp_path, monkeypatch):
    said = []
    monkeypatch.setattr("ladd_hf.convert.lightning.logger.warning", said.append)
    module = lightning_module("separate")
    module.loss_fn = nn.Module()
    module.loss_fn.register_buffer("steps", torch.tensor(3))
    convert(module, tmp_path / "last.ckpt")
    assert len(said) == 1 and "loss_fn.steps" in said[0] and "joint_denoiser.final_layer_y" in said[0]
    assert "joint_denoiser.y_cond_embedder.0.weight" in said[0] and "joint_denoiser.blocks.1.mlp_y" in said[0]


def test_objects_of_other_libraries_are_not_loaded(tmp_path):
    path = save(lightning_module("discrete"), tmp_path / "last.ckpt", hyper_parameters=Trap())
    refused("objects of other libraries", path, **UNTOLD)
    assert not Trap.sprung


def test_settings_that_the_file_does_not_tell_must_be_given(tmp_path):
    path = save(lightning_module("discrete"), tmp_path / "last.ckpt")
    refused("does not tell `max_position_embeddings`", path)
    refused("has weights of `hidden_size` 16", path, **UNTOLD, hidden_size=32)
    refused("hiden_size: no such option", path, **UNTOLD, hiden_size=32)
    refused("give 'averaged' or 'last'", path, weights="ema", **UNTOLD)
    refused("holds no averaged weights", path, weights="averaged", **UNTOLD)


def test_what_the_weights_do_not_tell_but_would_change_predictions_is_refused(tmp_path):
    path = save(lightning_module("mdlm"), tmp_path / "mdlm.ckpt")
    refused("told the time, and the research code's default is that it was", path, max_position_embeddings=12)
    told = {"model_config": {"params": {"config": {"params": {"time_type": "time"}}}}}
    path = save(lightning_module("mdlm"), tmp_path / "timed.ckpt", hyper_parameters=told)
    refused("told the time is not converted", path, max_position_embeddings=12)
    told["model_config"]["params"]["config"]["params"]["time_type"] = "none"
    path = save(lightning_module("mdlm"), tmp_path / "untimed.ckpt", hyper_parameters=told)
    assert convert_lightning(path, weights="last", max_position_embeddings=12).config.latent_type == "none"
    path = save(lightning_module("continuous"), tmp_path / "last.ckpt")
    refused("has weights of `latent_length` 4, which contradicts", path, **{**UNTOLD, "latent_length": 5})
    module = lightning_module("continuous")
    module.loss_fn = nn.Module()
    module.loss_fn.register_buffer("total_iter", torch.tensor(3))
    refused("codes of a Gumbel-softmax encoder", save(module, tmp_path / "gumbel.ckpt"), **UNTOLD)


def test_averages_that_are_not_of_the_parameters_are_refused(tmp_path):
    module = lightning_module("discrete")
    short = average(module.joint_denoiser)
    short["shadow_params"].pop()
    path = save(module, tmp_path / "last.ckpt", joint_denoiser_ema_state_dict=short)
    refused("that are not of the shapes", path, weights="averaged", **UNTOLD)


def test_files_of_another_kind_are_refused(tmp_path):
    torch.save({"weights": torch.ones(2)}, tmp_path / "other.ckpt")
    refused("no Lightning checkpoint", tmp_path / "other.ckpt")
    refused("its weights begin with bias, weight", save(nn.Linear(2, 2), tmp_path / "linear.ckpt"))
    module = lightning_module("discrete")
    module.vector_quantizer.vqvae._codebook.embed *= 2
    refused("not of length 1", save(module, tmp_path / "euclidean.ckpt"), **UNTOLD)
    gumbel = save(lightning_module("continuous"), tmp_path / "gumbel.ckpt")
    refused("Gumbel-softmax", gumbel, latent_type="discrete", **UNTOLD)
    timed = save(lightning_module("mdlm"), tmp_path / "mdlm.ckpt")
    refused("was told the time", timed, max_position_embeddings=12, token_time_conditioning=True)
