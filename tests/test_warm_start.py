"""A model that starts from MDLM says what MDLM says, until it is given latents."""

from __future__ import annotations

import json

import pytest
import torch
from helpers.reference_networks import MDLM, stirred
from safetensors.torch import save_file

from ladd_hf import LaddForDiffusionLM, LaddPipeline

MASK = 10
SETTINGS = {
    "model_type": "mdlm",
    "architectures": ["MDLM"],
    "vocab_size": 11,
    "model_length": 12,
    "hidden_dim": 32,
    "cond_dim": 16,
    "n_blocks": 2,
    "n_heads": 2,
    "dropout": 0.1,
    "time_conditioning": False,
}
LATENTS = {
    "none": {},
    "continuous": {"latent_type": "continuous", "latent_length": 4, "latent_dim": 3},
    "separate": {
        "latent_type": "continuous",
        "latent_length": 4,
        "latent_dim": 3,
        "separate_latent_denoiser": True,
    },
    "discrete": {"latent_type": "discrete", "latent_length": 4, "latent_dim": 3, "codebook_size": 8},
}


def weights_of(network):
    return {f"backbone.{name}": tensor.contiguous() for name, tensor in network.state_dict().items()}


@pytest.fixture
def published(tmp_path):
    """`published(weights=..., **settings)`: a folder in the layout of the published MDLM, and its network."""

    def publish(change=None, pickled=False, **settings):
        network = stirred(MDLM())
        weights = weights_of(network)
        if change is not None:
            change(weights)
        (tmp_path / "config.json").write_text(json.dumps({**SETTINGS, **settings}))
        if pickled:
            torch.save(weights, tmp_path / "pytorch_model.bin")
        else:
            save_file(weights, tmp_path / "model.safetensors", metadata={"format": "pt"})
        return tmp_path, network

    return publish


@pytest.mark.parametrize("length", [1, 7, 12])
@pytest.mark.parametrize("kind", LATENTS)
def test_without_latents_its_logits_are_the_publisheds(kind, length, published):
    folder, network = published()
    model = LaddForDiffusionLM.from_mdlm(folder, **LATENTS[kind]).eval()
    assert model.config.latent_type == LATENTS[kind].get("latent_type", "none")
    tokens = torch.randint(0, 11, (3, length), generator=torch.Generator().manual_seed(0))
    expected, logits = network(tokens), model(tokens).logits
    torch.testing.assert_close(logits[..., :MASK], expected[..., :MASK], atol=1e-5, rtol=0)
    assert logits[..., MASK].isneginf().all()


@pytest.mark.parametrize("token_time_conditioning", [False, True])
@pytest.mark.parametrize("kind", [kind for kind in LATENTS if kind != "none"])
def test_without_latents_its_logits_are_those_of_ours(kind, token_time_conditioning, stirred_model, tmp_path):
    source = stirred_model("none", token_time_conditioning=token_time_conditioning)
    source.save_pretrained(tmp_path)
    model = LaddForDiffusionLM.from_mdlm(tmp_path, **LATENTS[kind]).eval()
    tokens, times = torch.randint(0, 11, (3, 9)), torch.tensor([0.1, 0.5, 0.9])
    expected, logits = (one(tokens, token_timesteps=times).logits for one in (source, model))
    torch.testing.assert_close(logits[..., :MASK], expected[..., :MASK], atol=1e-5, rtol=0)


@pytest.mark.parametrize("kind", ["continuous", "discrete"])
def test_it_trains_generates_and_is_saved(kind, published, tmp_path):
    folder, _ = published()
    model = LaddForDiffusionLM.from_mdlm(folder, **LATENTS[kind], dtype=torch.float32)
    tokens = torch.randint(0, 10, (4, 12))
    loss = model(tokens, labels=tokens).loss
    loss.backward()
    assert loss.isfinite() and model.encoder.readout.weight.grad is not None
    LaddPipeline(model).save_pretrained(tmp_path / "pipeline")
    pipe = LaddPipeline.from_pretrained(tmp_path / "pipeline")
    assert (pipe(num_steps=2, batch_size=2).sequences != MASK).all()


def test_what_is_not_of_the_source_starts_as_in_a_new_model(published):
    folder, _ = published()
    model = LaddForDiffusionLM.from_mdlm(folder, **LATENTS["continuous"])
    assert not model.latent_head.output.proj.weight.any()
    for block in model.model.blocks:
        assert not block.streams["token"].modulation.weight.any() and block.streams["token"].modulation.bias.any()
        assert not block.streams["latent"].modulation.bias.any()


def test_a_pickle_is_read_only_where_it_is_asked_for(published):
    folder, network = published(pickled=True)
    with pytest.raises(OSError, match="give `use_safetensors=False`"):
        LaddForDiffusionLM.from_mdlm(folder)
    model = LaddForDiffusionLM.from_mdlm(folder, use_safetensors=False).eval()
    tokens = torch.arange(6)[None]
    torch.testing.assert_close(model(tokens).logits[..., :MASK], network(tokens)[..., :MASK], atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda w: w.pop("backbone.blocks.1.attn_qkv.weight"), r"missing: model\.blocks\.1\.streams\.token\.qkv_proj"),
        (lambda w: w.update({"backbone.blocks.0.other": torch.zeros(1)}), r"unknown: blocks\.0\.other"),
        (
            lambda w: w.update({"backbone.output_layer.linear.bias": torch.zeros(9)}),
            r"of another shape: token_head\.proj\.bias",
        ),
    ],
)
def test_weights_that_do_not_fit_are_named(change, message, published):
    folder, _ = published(change)
    with pytest.raises(ValueError, match=message):
        LaddForDiffusionLM.from_mdlm(folder)


def test_what_can_not_be_a_start_is_refused(published, stirred_model, tmp_path):
    folder, _ = published(time_conditioning=True)
    with pytest.raises(ValueError, match=r"trained with `time_conditioning`.*start from one trained without"):
        LaddForDiffusionLM.from_mdlm(folder)
    folder, _ = published(model_type="bert")
    with pytest.raises(ValueError, match="is a model of type 'bert'; give an MDLM"):
        LaddForDiffusionLM.from_mdlm(folder)
    stirred_model("discrete").save_pretrained(tmp_path / "ours")
    with pytest.raises(ValueError, match="has latents of its own"):
        LaddForDiffusionLM.from_mdlm(tmp_path / "ours")
    (tmp_path / "empty").mkdir()
    with pytest.raises(OSError, match=r"has no config\.json"):
        LaddForDiffusionLM.from_mdlm(tmp_path / "empty")
