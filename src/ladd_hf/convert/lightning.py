"""Converts checkpoints of the LADD authors' research code (Lightning `.ckpt` files) to models of this library.

What such a file holds, by the names its weights have:

* the joint denoiser: `w.embedding`, `blocks.N` of two streams (`qkv_x`, `qkv_y`, `attn_out_x`, `norm1_x`, `norm2_x`,
  `mlp_x.{0,2}`, `adaLN_modulation_x.1`, and the same of `y`), `y_patch_embedder.{0,2}`, `y_slot_embeddings` where
  latents have no rotary positions, `t_embedder.mlp.{0,2}`, `t_y_embedder.mlp.{0,2}`, and `final_layer_x`,
  `final_layer_y` with `norm_final.weight`, `linear.{weight,bias}`, `adaLN_modulation.{weight,bias}`;
* of sequential Co-LADD the latent denoiser: `blocks.N` of one stream (named as MDLM's), `y_patch_embedder` of one
  linear map, `t_y_embedder`, `final_layer_y`;
* the encoder: `w.embedding`, `time_embedder`, `blocks.N` of one stream, `final_layer`;
* of Di-LADD `vector_quantizer.z_mask` and `vector_quantizer.vqvae._codebook`;
* or, of the MDLM baseline, what `dit_weights.untimed_mdlm` reads.

Each network may have any prefix. `*_ema_state_dict` (or `ema`) hold averaged weights as a list of `shadow_params` in
the order of the parameters. Left out, with a warning, is what no prediction depends on: `y_cond_embedder`, counters of
the loss, and, where a latent denoiser is at hand, what only the joint denoiser's own prediction of latents reads.
"""

from __future__ import annotations

import os
from typing import Any, Literal

from transformers.utils import logging

from ..models.configuration_ladd import LaddConfig
from ..models.modeling_ladd import LaddForDiffusionLM
from .dit_weights import SourceWeights, Weights
from .lightning_file import read_checkpoint, stored_weights
from .lightning_settings import (
    check_options,
    contradicts,
    find_networks,
    ladd_defaults,
    ladd_settings,
    mdlm_settings,
    told_settings,
)
from .lightning_weights import ladd_weights, mdlm_weights

logger = logging.get_logger(__name__)


def convert_lightning(
    checkpoint: str | os.PathLike,
    *,
    weights: Literal["averaged", "last"] = "averaged",
    without_encoder: bool = False,
    **options: Any,
) -> LaddForDiffusionLM:
    """Loads a checkpoint of the authors' research code: the same predictions, to the precision of float32.

    Args:
        checkpoint: a Lightning `.ckpt` file. It is read without running any code of it.
        weights: `averaged` takes the EMA weights of networks that have them; `last` those of the last step.
        without_encoder: leave out the file's encoder, such as a pretrained one; the model then has a new, untrained
            encoder, as for a file without one.
        options: settings of [`LaddConfig`] that the file does not contain: usually `latent_length` and
            `max_position_embeddings`; `token_time_conditioning` and `latent_time_conditioning` (not for tokens and
            codes, but for continuous latents, by default); noise schedules; `mask_token_id`, if it is not the last.
            `latent_normalization` defaults to `unit` for continuous latents.

    Raises `ValueError` for a file that holds more than tensors and plain values, for weights that are unknown, missing
    or mis-shaped (naming all of them), and for settings that are missing or contradict the weights.
    """
    check_options(options)
    content = read_checkpoint(checkpoint)
    state = stored_weights(content, checkpoint, weights)
    origin = f"The checkpoint {checkpoint}"
    source = SourceWeights(state, origin)
    networks = find_networks(source)
    settings = told_settings(content.get("hyper_parameters")) | options
    left_out = source.leave(name for name in source.names if name.startswith("loss_fn."))
    if without_encoder and networks.encoder is not None:
        left_out += source.leave(name for name in source.names if name.startswith(networks.encoder))
        networks.encoder = None
    if networks.joint is None:
        inferred = mdlm_settings(source, networks, settings)
        converted = mdlm_weights(source, networks, inferred)
    else:
        settings = ladd_defaults(source) | settings
        inferred = ladd_settings(source, networks, settings)
        converted, unread = ladd_weights(source, networks, settings, inferred)
        left_out += unread
    source.close()
    against = [name for name, value in inferred.items() if name in options and contradicts(options[name], value)]
    if against:
        raise ValueError(
            f"{origin} has weights of {', '.join(f'`{name}` {inferred[name]}' for name in against)}, which contradicts "
            "the options given: leave them out."
        )
    model = LaddForDiffusionLM(LaddConfig(**settings | inferred)).eval()
    _load(model, converted, networks.encoder is not None)
    if left_out:
        logger.warning(f"Left out, for no prediction depends on them: {', '.join(left_out)}.")
    return model


def _load(model: LaddForDiffusionLM, converted: Weights, has_encoder: bool) -> None:
    missing, unexpected = model.load_state_dict(converted, strict=False)
    new = [name for name in missing if name.startswith("encoder.")] if not has_encoder else []
    wrong = [*sorted(set(missing) - set(new) - {"quantizer.quantize.zero"}), *unexpected]
    if wrong:
        raise ValueError(
            f"The settings describe another model than the checkpoint's; they differ in {', '.join(wrong)}."
        )
    if new:
        logger.warning("The checkpoint's encoder is not taken: the model has a new one, which is untrained.")
