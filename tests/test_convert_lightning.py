"""A converted checkpoint of the authors' code predicts what their networks predict."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from helpers.reference_networks import Encoder, JointDenoiser, stirred
from vector_quantize_pytorch import VectorQuantize

from ladd_hf import LaddPipeline
from ladd_hf.convert_lightning import convert_lightning_checkpoint, read_checkpoint

MASK, CODES = 10, 8
SIZES = {"num_attention_heads": 2, "max_position_embeddings": 12, "latent_length": 4}


class Quantizer(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.z_mask = torch.nn.Parameter(torch.randn(3))
        self.vqvae = VectorQuantize(dim=3, codebook_size=CODES, use_cosine_sim=True, kmeans_init=False)


@pytest.fixture
def checkpoint(tmp_path):
    """`checkpoint(kind, ...)`: a file as the authors' code writes it, and the networks in it."""

    def write(kind, with_encoder=True, change=None, ema=False, mask_logit=True, **others):
        out = 3 if kind == "continuous" else CODES + mask_logit
        networks = {"joint_denoiser": stirred(JointDenoiser(latent_out=out))}
        if with_encoder:
            networks["encoder"] = stirred(Encoder(unit=kind == "continuous"), seed=1)
        if kind == "discrete":
            networks["vector_quantizer"] = stirred(Quantizer(), seed=2)
        weights = {f"{p}.{n}": t.clone() for p, network in networks.items() for n, t in network.state_dict().items()}
        weights["val_perplexity.total"] = torch.zeros(())
        content = {"state_dict": weights, "epoch": 3, "hyper_parameters": {"lr": 3e-4}, **others}
        if ema:  # the averages are the networks, the plain weights something else
            content["ema_models"] = {
                part: {"decay": 0.9999, "shadow_params": [p.detach().clone() for p in networks[part].parameters()]}
                for part in ("joint_denoiser", "encoder")
                if part in networks
            }
            for name in weights:
                if name.startswith(("joint_denoiser", "encoder")):
                    weights[name] = weights[name] + 1.0
        if change is not None:
            change(weights)
        path = tmp_path / "last.ckpt"
        torch.save(content, path)
        return path, networks

    return write


def inputs(rows=3):
    generator = torch.Generator().manual_seed(5)
    tokens = torch.randint(0, 11, (rows, 12), generator=generator)
    return tokens, torch.randn(rows, 4, 3, generator=generator), torch.rand(rows, generator=generator)


@pytest.mark.parametrize("ema", [False, True])
def test_a_converted_co_ladd_predicts_the_same(ema, checkpoint):
    path, networks = checkpoint("continuous", ema=ema)
    model = convert_lightning_checkpoint(path, **SIZES, ema=ema, latent_normalization="unit")
    tokens, latents, times = inputs()
    logits, vectors = networks["joint_denoiser"](tokens, latents, times)
    output = model(tokens, latents, latent_timesteps=times)
    torch.testing.assert_close(output.logits[..., :MASK], logits[..., :MASK], atol=1e-5, rtol=0)
    torch.testing.assert_close(output.latent_prediction, vectors, atol=1e-5, rtol=0)
    torch.testing.assert_close(model.encode_latents(tokens), networks["encoder"](tokens), atol=1e-5, rtol=0)


@pytest.mark.parametrize("mask_logit", [False, True])
def test_a_converted_di_ladd_predicts_the_same(mask_logit, checkpoint):
    path, networks = checkpoint("discrete", mask_logit=mask_logit)
    model = convert_lightning_checkpoint(path, **SIZES, ema=False)
    assert model.config.codebook_size == CODES
    quantizer, (tokens, _, _) = networks["vector_quantizer"], inputs()
    codes = torch.randint(0, CODES + 1, (3, 4), generator=torch.Generator().manual_seed(1))
    looked_up = quantizer.vqvae.get_output_from_indices(codes.clamp(max=CODES - 1))
    vectors = torch.where((codes == CODES)[..., None], quantizer.z_mask, looked_up)
    logits, code_logits = networks["joint_denoiser"](tokens, vectors, torch.zeros(3))
    output = model(tokens, codes)
    torch.testing.assert_close(output.logits[..., :MASK], logits[..., :MASK], atol=1e-5, rtol=0)
    torch.testing.assert_close(output.latent_prediction, code_logits[..., :CODES], atol=1e-5, rtol=0)
    expected = quantizer.vqvae(networks["encoder"](tokens))[1]
    assert torch.equal(model.encode_latents(tokens), expected)


def test_without_an_encoder_in_the_file_a_new_one_is_there(checkpoint):
    path, networks = checkpoint("continuous", with_encoder=False)
    model = convert_lightning_checkpoint(path, **SIZES, ema=False)
    tokens, latents, times = inputs()
    logits, _ = networks["joint_denoiser"](tokens, latents, times)
    output = model(tokens, latents, latent_timesteps=times)
    torch.testing.assert_close(output.logits[..., :MASK], logits[..., :MASK], atol=1e-5, rtol=0)
    assert model.encode_latents(tokens).isfinite().all()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda w: w.pop("joint_denoiser.blocks.1.qkv_y.weight"), r"missing: model\.blocks\.1\.streams\.latent\.qkv"),
        (lambda w: w.update({"joint_denoiser.blocks.0.gate": torch.zeros(1)}), r"unknown: blocks\.0\.gate"),
        (lambda w: w.update({"latent_denoiser.w": torch.zeros(1)}), r"unknown: latent_denoiser\.w"),
        (lambda w: w.update({"encoder.extra.weight": torch.zeros(1)}), r"unknown: encoder\.extra\.weight"),
        (lambda w: w.update({"joint_denoiser.y_head.x": torch.zeros(1)}), r"wide head \(`y_head`\)"),
    ],
)
def test_weights_that_are_unknown_or_missing_are_named(change, message, checkpoint):
    path, _ = checkpoint("continuous", change=change)
    with pytest.raises(ValueError, match=message):
        convert_lightning_checkpoint(path, **SIZES, ema=False)


def test_a_part_is_left_out_only_where_that_is_asked_for(checkpoint):
    path, _ = checkpoint("continuous", change=lambda w: w.update({"latent_denoiser.w": torch.zeros(1)}))
    convert_lightning_checkpoint(path, **SIZES, ema=False, skip=["latent_denoiser."])


def test_an_average_that_is_not_there_is_not_made_up(checkpoint):
    path, _ = checkpoint("continuous")
    with pytest.raises(ValueError, match="no EMA weights of `joint_denoiser`: convert its plain ones"):
        convert_lightning_checkpoint(path, **SIZES)


def test_a_file_that_could_run_code_is_not_read(checkpoint, tmp_path):
    path, _ = checkpoint("continuous", config=Path("an/object"))
    with pytest.raises(ValueError, match=r"objects besides weights .* can run code"):
        read_checkpoint(path)
    torch.save({"weights": {}}, tmp_path / "other.ckpt")
    with pytest.raises(ValueError, match="has no 'state_dict'"):
        read_checkpoint(tmp_path / "other.ckpt")


def test_the_example_writes_a_pipeline(checkpoint, tmp_path):
    path, _ = checkpoint("discrete", ema=True)
    script = Path(__file__).resolve().parents[1] / "examples" / "convert_checkpoint.py"
    sizes = [word for name, value in SIZES.items() for word in (f"--{name}", str(value))]
    command = [sys.executable, str(script), str(path), str(tmp_path / "out"), *sizes, "--schedule", "sequential"]
    process = subprocess.run(command, capture_output=True, text=True)
    assert process.returncode == 0, process.stderr[-2000:]
    pipe = LaddPipeline.from_pretrained(tmp_path / "out")
    assert (pipe(num_steps=4, batch_size=2).sequences != MASK).all()
