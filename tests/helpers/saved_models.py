"""Outputs of a saved model, by names that have not changed since the first ones were saved."""

from __future__ import annotations

from pathlib import Path

import torch

from ladd_hf import LaddForDiffusionLM, LaddJointScheduler, LaddPipeline, LaddSequentialScheduler

MODELS = Path(__file__).resolve().parents[1] / "fixtures" / "models"
NAMES = ("di-ladd", "co-ladd", "mdlm")  # the first is a whole pipeline


def seeded():
    return torch.Generator().manual_seed(0)


@torch.no_grad()
def computed(name, folder=MODELS):
    """Logits, latents and bound of the model in a folder, and samples by each schedule, as tensors by what they are."""
    path = folder / name
    model = LaddForDiffusionLM.from_pretrained(path / "model" if name == NAMES[0] else path).eval()
    text = torch.randint(1, 10, (3, 12), generator=seeded())
    found = {"nelbo": model.nelbo(text, num_samples=2, generator=seeded()).total_nats}
    call = {"token_timesteps": torch.full((3,), 0.5)}
    if model.config.latent_type != "none":
        torch.manual_seed(0)  # continuous latents are drawn
        latents = found["encoded latents"] = model.encode_latents(text)
        call |= {"latents": latents, "latent_timesteps": torch.full((3,), 0.25)}
    masked = text.masked_fill(torch.rand(3, 12, generator=seeded()) < 0.5, model.config.mask_token_id)
    output = model(masked, **call)
    found["logits"] = output.logits[..., :10]  # without the mask token's, which is -inf
    if output.latent_prediction is not None:
        found["latent prediction"] = output.latent_prediction
    pipelines = {
        "joint": LaddPipeline(model, LaddJointScheduler()),
        "sequential": LaddPipeline(model, LaddSequentialScheduler(latent_share=0.5)),
    }
    if name == NAMES[0]:
        pipelines["saved"] = LaddPipeline.from_pretrained(path)
    for schedule, pipeline in pipelines.items():
        pipeline.set_progress_bar_config(disable=True)
        drawn = pipeline(num_steps=4, batch_size=4, generator=seeded(), output_type="seq")
        found[f"{schedule} sequences"] = drawn.sequences
        if drawn.latents is not None:
            found[f"{schedule} latents"] = drawn.latents
    return {what: value.contiguous() for what, value in found.items()}
