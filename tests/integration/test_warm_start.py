"""Models of ours start from the token stream of an MDLM, published or our own."""

from __future__ import annotations

import json

import pytest
import torch
from helpers.dit_networks import MDLM, MDLM_CONFIG, stirred
from helpers.traps import Trap
from safetensors.torch import save_file

from ladd_hf import LaddForDiffusionLM, from_mdlm

LATENTS = {"latent_length": 4, "latent_dim": 3}
OPTIONS = {
    "none": {},
    "continuous": {"latent_type": "continuous", **LATENTS},
    "separate": {"latent_type": "continuous", "latent_denoiser": "separate", **LATENTS},
    "discrete": {"latent_type": "discrete", "quantizer": {"name": "finite_scalar", "levels": [3, 3]}, **LATENTS},
    "vector": {"latent_type": "discrete", "codebook_size": 8, **LATENTS},
}
LENGTHS = (1, 7, 12, 30)


@pytest.fixture(scope="module")
def mdlm():
    return stirred(MDLM())


def save(network, folder, pickled=False, **changes):
    """A folder in the layout of the published checkpoint."""
    weights = {f"backbone.{name}": weight.contiguous() for name, weight in network.state_dict().items()}
    for name, change in changes.pop("weights", {}).items():
        if change is None:
            del weights[name]
        else:
            weights[name] = change
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text(json.dumps({**MDLM_CONFIG, **changes}))
    if pickled:
        torch.save(weights, folder / "pytorch_model.bin")
    else:
        save_file(weights, folder / "model.safetensors", {"format": "pt"})
    return folder


@pytest.fixture(scope="module")
def folder(mdlm, tmp_path_factory):
    return save(mdlm, tmp_path_factory.mktemp("mdlm"))


def logits_agree(model, source, atol=1e-5):
    generator = torch.Generator().manual_seed(1)
    for length in LENGTHS:
        tokens = torch.randint(0, 11, (3, length), generator=generator)
        with torch.no_grad():
            logits, expected = model(tokens).logits, source(tokens)
        expected = expected if isinstance(expected, torch.Tensor) else expected.logits
        torch.testing.assert_close(logits[..., :10], expected[..., :10], atol=atol, rtol=0)
        assert (logits[..., 10] == -torch.inf).all()


# --- from a published MDLM ---


@pytest.mark.parametrize("kind", OPTIONS)
def test_with_latents_off_it_predicts_what_the_mdlm_predicts(kind, mdlm, folder):
    model = from_mdlm(folder, **OPTIONS[kind])
    assert model.config.latent_type == OPTIONS[kind].get("latent_type", "none") and not model.training
    logits_agree(model, mdlm)


@pytest.mark.parametrize("kind", OPTIONS)
def test_everything_else_is_as_in_a_new_model(kind, folder):
    torch.manual_seed(3)
    model = from_mdlm(folder, **OPTIONS[kind])
    torch.manual_seed(3)
    fresh = LaddForDiffusionLM(model.config).state_dict()
    token_stream = ("model.embed_tokens", "token_head", ".streams.token.")
    for name, weight in model.state_dict().items():
        of_source = any(part in name for part in token_stream) and not name.startswith(("encoder", "latent_denoiser"))
        if not of_source or name.endswith("modulation.weight"):
            assert torch.equal(weight, fresh[name]), name
        else:
            assert not torch.equal(weight, fresh[name]), name


@pytest.mark.parametrize("kind", ["continuous", "separate", "discrete"])
def test_it_trains_is_saved_and_loaded(kind, folder, tmp_path):
    model = from_mdlm(folder, **OPTIONS[kind]).train()
    loss = model(torch.randint(0, 10, (4, 12)), labels=torch.randint(0, 10, (4, 12)), loss_only=True).loss
    loss.backward()
    assert loss.isfinite() and model.model.embed_tokens.weight.grad.abs().sum() > 0
    model.save_pretrained(tmp_path)
    loaded = LaddForDiffusionLM.from_pretrained(tmp_path)
    logits_agree(loaded, model.eval(), atol=0)


def test_lengths_mask_and_sizes_of_time_may_be_chosen(mdlm, folder):
    chosen = {"max_position_embeddings": 30, "mask_token_id": 3, "cond_hidden_size": 24}
    model = from_mdlm(folder, **OPTIONS["continuous"], **chosen)
    assert {name: getattr(model.config, name) for name in chosen} == chosen
    tokens = torch.arange(10)[None]
    logits = model(tokens).logits
    assert (logits[..., 3] == -torch.inf).all()
    torch.testing.assert_close(logits[..., 4:], mdlm(tokens)[..., 4:], atol=1e-5, rtol=0)


@pytest.mark.parametrize("dtype", [torch.bfloat16, "bfloat16"])
def test_it_is_kept_in_the_dtype_asked_for(dtype, folder):
    model = from_mdlm(folder, dtype=dtype, **OPTIONS["discrete"])
    assert model.dtype == torch.bfloat16 and model.config.dtype == torch.bfloat16


def test_unless_asked_otherwise_it_is_of_the_sources_dtype(tmp_path):
    half = save(stirred(MDLM()).to(torch.bfloat16), tmp_path / "half")
    assert from_mdlm(half).dtype == torch.bfloat16
    assert from_mdlm(half, dtype=torch.float32).dtype == torch.float32


def test_how_attention_is_computed_may_be_chosen(mdlm, folder):
    model = from_mdlm(folder, attn_implementation="eager")
    assert model.config._attn_implementation == "eager"
    logits_agree(model, mdlm)


# --- from a model of ours ---


@pytest.mark.parametrize("kind", OPTIONS)
@pytest.mark.parametrize("saved", [True, False])
def test_a_model_of_ours_without_latents_is_a_source_too(kind, saved, stirred_model, tmp_path):
    source = stirred_model("none", hidden_size=16, attention_dropout=0.1, pad_token_id=2)
    source.save_pretrained(tmp_path)
    model = from_mdlm(tmp_path if saved else source, **OPTIONS[kind])
    assert model.config.attention_dropout == 0.1 and model.config.pad_token_id == 2
    assert model.config.latent_time_conditioning == (OPTIONS[kind].get("latent_type") == "continuous")
    logits_agree(model, source)


@pytest.mark.parametrize("kind", ["continuous", "discrete"])
def test_a_source_that_is_told_the_time_stays_so(kind, stirred_model):
    source = stirred_model("none", token_time_conditioning=True)
    model = from_mdlm(source, **OPTIONS[kind])
    tokens, times = torch.arange(10).repeat(2, 1), torch.tensor([0.1, 0.9])
    expected = source(tokens, token_timesteps=times).logits
    assert not torch.allclose(expected[0, :, :10], expected[1, :, :10], atol=1e-2)
    torch.testing.assert_close(model(tokens, token_timesteps=times).logits, expected)


def test_one_matrix_for_embeddings_and_projection_stays_one(stirred_model, tmp_path):
    source = stirred_model("none", tie_word_embeddings=True)
    source.save_pretrained(tmp_path)
    model = from_mdlm(tmp_path, **OPTIONS["discrete"])
    assert model.token_head.proj.weight is model.model.embed_tokens.weight
    logits_agree(model, source)


# --- what is refused ---


def refused(error, match, *args, **options):
    with pytest.raises(error, match=match) as caught:
        from_mdlm(*args, **options)
    return str(caught.value)


def test_all_missing_unknown_and_mis_shaped_weights_are_named_at_once(mdlm, tmp_path):
    weights = {
        "backbone.blocks.1.attn_out.weight": None,
        "backbone.sigma_map.mlp.0.bias": None,
        "backbone.blocks.0.norm3.weight": torch.ones(16),
        "noise.sigma": torch.ones(1),
        "backbone.output_layer.linear.bias": torch.ones(12),
    }
    message = refused(ValueError, "does not fit", save(mdlm, tmp_path / "bad", weights=weights))
    assert "missing: backbone.sigma_map.mlp.0.bias, backbone.blocks.1.attn_out.weight;" in message
    assert "unknown: backbone.blocks.0.norm3.weight, noise.sigma." in message
    assert "mis-shaped: backbone.output_layer.linear.bias (12,) instead of (11,);" in message


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"n_blocks": 999_999_999}, "`n_blocks` 999999999, .* its weights have 2 blocks"),
        ({"n_heads": 3}, "a hidden size is a multiple of twice its heads"),
        ({"n_heads": 0, "cond_dim": "8"}, "has cond_dim, n_heads that are no numbers of at least 1"),
        ({"weights": {"backbone.blocks.7.norm1.weight": torch.ones(16)}}, "not numbered from 0 on"),
        ({"weights": {"backbone.blocks.1.norm1.weight": torch.full((16,), torch.nan)}}, "that are not finite"),
    ],
)
def test_a_source_that_is_not_what_it_seems_is_refused_at_once(changes, told, mdlm, tmp_path):
    refused(ValueError, told, save(mdlm, tmp_path / "odd", **changes))


@pytest.mark.parametrize(
    ("pickled", "error", "told"),
    [(False, OSError, "no whole safetensors file"), (True, ValueError, "is damaged|cut off")],
)
def test_weights_that_are_cut_off_are_called_so(pickled, error, told, mdlm, tmp_path):
    folder = save(mdlm, tmp_path / "cut", pickled=pickled)
    path = folder / ("pytorch_model.bin" if pickled else "model.safetensors")
    path.write_bytes(path.read_bytes()[:-999])
    refused(error, told, folder, use_safetensors=not pickled)


def test_a_source_that_is_told_the_noise_level_is_refused(mdlm, tmp_path):
    refused(ValueError, "`time_conditioning` true", save(mdlm, tmp_path / "timed", time_conditioning=True))


def test_rotary_frequencies_of_another_base_are_refused(mdlm, tmp_path):
    weights = {"backbone.rotary_emb.inv_freq": 500.0 ** (-torch.arange(4) / 4)}
    refused(ValueError, "another base than 10,000", save(mdlm, tmp_path / "base", weights=weights))


def test_other_models_are_refused(mdlm, tmp_path, tiny_model):
    refused(ValueError, "type 'gpt2'", save(mdlm, tmp_path / "gpt2", model_type="gpt2"))
    refused(ValueError, "`latent_type` 'discrete'", tiny_model("discrete"))
    folder = save(mdlm, tmp_path / "short")
    described = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({k: v for k, v in described.items() if k != "n_heads"}))
    refused(ValueError, "lacks n_heads", folder)


def test_options_that_contradict_the_source_or_mean_nothing_are_refused(folder, stirred_model):
    refused(ValueError, "has `hidden_size` 16: leave", folder, hidden_size=32)
    from_mdlm(folder, hidden_size=16)
    refused(ValueError, "latent_lenght: no such option", folder, latent_lenght=3)
    timed = stirred_model("none", token_time_conditioning=True)
    refused(ValueError, "has `cond_hidden_size` 16: leave", timed, cond_hidden_size=32)


def test_pickled_weights_are_read_only_where_asked_for(mdlm, tmp_path):
    folder = save(mdlm, tmp_path / "pickled", pickled=True)
    refused(OSError, "no file model.safetensors: give `use_safetensors=False`", folder)
    logits_agree(from_mdlm(folder, use_safetensors=False), mdlm)
    torch.save({"weights": Trap()}, folder / "pytorch_model.bin")
    refused(ValueError, "holds more than tensors", folder, use_safetensors=False)
    assert not Trap.sprung
