"""Latents of a fixed pretrained encoder, computed once and stored beside the texts."""

from __future__ import annotations

import hashlib
import json
from typing import Any, TypeVar

import numpy as np
import torch
from datasets import Dataset, Features, IterableDataset, List, Value
from transformers import PreTrainedModel
from transformers.utils import logging

from ..configuration_ladd import LaddConfig
from ..evaluation_mode import evaluation_mode
from ..modeling_ladd import LaddForDiffusionLM
from ..pretrained_encoder import PretrainedEncoder, stacked

logger = logging.get_logger(__name__)

AnyDataset = TypeVar("AnyDataset", Dataset, IterableDataset)

COLUMN = "precomputed_latents"
_DTYPES = ("float16", "float32")
# Settings that decide what the column holds.
_OF_FEATURES = (
    *("encoder_name_or_path", "encoder_revision", "encoder_pooling", "encoder_projection", "encoder_tokenizer"),
    *("latent_length", "latent_dim", "latent_normalization", "mask_token_id", "vocab_size"),
)


def precompute_latents(
    dataset: AnyDataset, model: LaddForDiffusionLM, batch_size: int = 64, dtype: str = "float16"
) -> AnyDataset:
    """The data set with a column `precomputed_latents`, from which training and evaluation never run the encoder.

    The column holds what the encoder alone says, M x D numbers for each text, or M x `encoder_hidden_size` before a
    learned projection, as one list, which is read several times faster than a list of lists: standardisation,
    projection and quantiser come after it, in the model. A streamed data set is
    encoded as it is read. What was computed before with the same encoder on the same data comes from datasets' cache.

    Args:
        dataset: with `input_ids`, and perhaps `attention_mask`.
        model: names the encoder, and says where and in which dtype it runs.
        batch_size: texts in one pass of the encoder.
        dtype: of the column, `float16` or `float32`.

    Raises `ValueError` for a model whose encoder is trained, and for numbers that `dtype` does not hold.
    """
    encoder, config = model.encoder, model.config
    if not isinstance(encoder, PretrainedEncoder) or config.encoder_trained:
        raise ValueError(
            "Only the latents of a fixed pretrained encoder can be had beforehand: name one in `encoder_name_or_path`, "
            "and leave `encoder_trained` false."
        )
    if dtype not in _DTYPES:
        raise ValueError(f"`dtype` is {dtype!r}; give one of {', '.join(_DTYPES)}.")
    loaded = encoder.pretrained.network is not None

    def encoded(columns: dict[str, Any]) -> dict[str, Any]:
        names = [name for name in ("input_ids", "attention_mask") if name in columns]
        examples = [dict(zip(names, row, strict=True)) for row in zip(*(columns[name] for name in names), strict=True)]
        batch = stacked(examples, config.pad_token_id or 0, model.device)
        with evaluation_mode(model), torch.no_grad():
            features = encoder.features(batch["input_ids"], batch.get("attention_mask"), model.dtype)
        values = features.flatten(1).to(getattr(torch, dtype)).cpu().numpy()
        if not np.isfinite(values).all():
            raise ValueError(
                f"The encoder {config.encoder_name_or_path!r} gives numbers that are not finite in {dtype} (up to "
                f"{float(features.abs().max()):g}): give `dtype` 'float32', or another encoder."
            )
        return {COLUMN: values}

    options: dict[str, Any] = {"batched": True, "batch_size": batch_size}
    if isinstance(dataset, IterableDataset):
        return dataset.map(encoded, **options)
    shape = (config.latent_length, encoder.feature_size)
    options["features"] = Features({**dataset.features, COLUMN: List(Value(dtype), length=shape[0] * shape[1])})
    network = encoder.pretrained.on(model.device, model.dtype)
    options["new_fingerprint"] = _fingerprint(dataset, config, network, dtype)
    stored = dataset.map(encoded, desc="Encoding", **options)
    if not loaded:
        encoder.unload()
    size = len(stored) * shape[0] * shape[1] * np.dtype(dtype).itemsize
    stated = f"{len(stored):,} texts, {shape[0]} x {shape[1]} {dtype}: {size / 1e6:,.1f} MB"
    logger.info(f"Precomputed latents: {stated}")
    stored.info.description += f"\nPrecomputed latents of {config.encoder_name_or_path}: {stated}"
    # as lists they would be slow to read
    return stored.with_format("numpy", columns=[COLUMN], output_all_columns=True)


def _fingerprint(dataset: Dataset, config: LaddConfig, network: PreTrainedModel, dtype: str) -> str:
    """Names the data set by what it was made of: texts, settings, and the encoder's weights."""
    told = {name: getattr(config, name) for name in _OF_FEATURES}
    digest = hashlib.sha256(json.dumps([dataset._fingerprint, told, dtype, str(network.dtype)]).encode())
    for weight in network.state_dict().values():
        digest.update(weight.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()[:16]
