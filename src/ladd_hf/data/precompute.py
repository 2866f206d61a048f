"""Latents of a fixed pretrained encoder, computed once and stored beside the texts."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any, TypeVar

import datasets
import numpy as np
import torch
import transformers
from datasets import Dataset, Features, IterableDataset, List, Value
from transformers import PreTrainedModel
from transformers.utils import logging

from ..models.call_checks import check_whole_texts
from ..models.configuration_ladd import LaddConfig
from ..models.encoders.encoder_options import PretrainedOptions
from ..models.encoders.pretrained import PretrainedEncoder, check_tokenized, stacked
from ..models.encoders.source import settings_of
from ..models.encoders.trained import check_lengths
from ..models.eval_mode import evaluation_mode
from ..models.modeling_ladd import LaddForDiffusionLM
from .block_stream import BlockStream
from .fingerprints import code_of, fingerprint_of
from .transforms import has_transform, passing_file, with_transform_applied

logger = logging.get_logger(__name__)

AnyDataset = TypeVar("AnyDataset", Dataset, IterableDataset)

COLUMN = "precomputed_latents"
_DTYPES = ("float16", "float32")
# Settings that determine the column, besides the encoder itself.
_OF_FEATURES = (
    *("latent_length", "latent_dim", "latent_normalization", "mask_token_id", "pad_token_id", "vocab_size"),
)


def precompute_latents(
    dataset: AnyDataset, model: LaddForDiffusionLM, batch_size: int = 64, dtype: str = "float16"
) -> AnyDataset:
    """Returns the data set with a column `precomputed_latents`, so that training and evaluation never run the encoder.

    The column holds the encoder's output, M x D numbers for each text, or M x `encoder.hidden_size` before a learned
    projection, as one flat list, which is read several times faster than nested lists. Standardisation, projection and
    quantiser are applied later, in the model.

    It is written to the cache of `datasets`, beside the data set's own file, or to the folder `ladd_hf_latents` for a
    data set in memory; a column computed before from the same texts, encoder and tokenizers is read from there. For a
    data set with a transform (`with_transform`), and for an encoder that cannot be fingerprinted, the column is
    computed anew each time. A streamed data set stores nothing: it is encoded as it is read, for instance to be
    written elsewhere. A data set without examples is returned unchanged.

    Args:
        dataset: with `input_ids`, and optionally `attention_mask`.
        model: has the encoder, its device and its dtype.
        batch_size: texts in one pass of the encoder.
        dtype: of the column, `float16` or `float32`.

    Raises `ValueError` for a model whose encoder is trained, for a stream of blocks, for texts that the encoder cannot
    read, and for numbers that overflow `dtype`.
    """
    encoder, config = model.encoder, model.config
    check_precomputable(config, streamed=isinstance(dataset, BlockStream))
    assert isinstance(encoder, PretrainedEncoder)  # as just checked
    if not isinstance(dataset, Dataset | IterableDataset):
        raise ValueError(
            f"Latents cannot be stored beside a {type(dataset).__name__}: give a `datasets.Dataset` or a "
            "`datasets.IterableDataset`, each split by itself."
        )
    if dtype not in _DTYPES:
        raise ValueError(f"`dtype` is {dtype!r}; give one of {', '.join(_DTYPES)}.")
    loaded = encoder.pretrained.network is not None
    cached = not (isinstance(dataset, Dataset) and has_transform(dataset))
    if isinstance(dataset, Dataset):
        dataset = with_transform_applied(dataset)

    def encoded(columns: dict[str, Any]) -> dict[str, Any]:
        check_tokenized(columns)
        names = [name for name in ("input_ids", "attention_mask") if name in columns]
        examples = [dict(zip(names, row, strict=True)) for row in zip(*(columns[name] for name in names), strict=True)]
        batch = stacked(examples, config.pad_token_id or 0, model.device)
        check_whole_texts(config, batch["input_ids"], batch.get("attention_mask"))
        check_lengths(config, batch["input_ids"], batch.get("attention_mask"), wait=True)
        with evaluation_mode(model), torch.no_grad():
            features = encoder.features(batch["input_ids"], batch.get("attention_mask"), model.dtype)
        values = features.flatten(1).to(getattr(torch, dtype)).cpu().numpy()
        if not np.isfinite(values).all():
            raise ValueError(
                f"The encoder {encoder.options.name_or_path!r} gives numbers that are not finite in {dtype} (up to "
                f"{float(features.abs().max()):g}): give `dtype` 'float32', or another encoder."
            )
        return {COLUMN: values}

    options: dict[str, Any] = {"batched": True, "batch_size": batch_size}
    if isinstance(dataset, IterableDataset):
        return dataset.map(encoded, **options)
    if not len(dataset):
        return dataset
    shape = (config.latent_length, encoder.feature_size)
    options["features"] = Features({**dataset.features, COLUMN: List(Value(dtype), length=shape[0] * shape[1])})
    network = encoder.pretrained.on(model.device, model.dtype)
    encoder.check()  # before stored latents are used in its place
    name = _fingerprint(dataset, encoder, network, dtype) if cached else None
    options["new_fingerprint"] = name or datasets.fingerprint.generate_random_fingerprint()
    if name is None:
        options |= {"cache_file_name": passing_file(), "load_from_cache_file": False}
    elif not dataset.cache_files and datasets.is_caching_enabled():  # else `map` would keep it in memory
        folder = Path(datasets.config.HF_DATASETS_CACHE) / "ladd_hf_latents"
        options["cache_file_name"] = str(folder / f"{name}.arrow")
    stored = dataset.map(encoded, desc="Encoding", **options)
    if not loaded:
        encoder.unload()
    size = len(stored) * shape[0] * shape[1] * np.dtype(dtype).itemsize
    stated = f"{len(stored):,} texts, {shape[0]} x {shape[1]} {dtype}: {size / 1e6:,.1f} MB"
    logger.info(f"Precomputed latents: {stated}")
    stored.info.description += f"\nPrecomputed latents of {encoder.options.name_or_path}: {stated}"
    # as lists they would be slow to read
    return stored.with_format("numpy", columns=[COLUMN], output_all_columns=True)


def check_precomputable(config: LaddConfig, streamed: bool = False) -> None:
    """Raises `ValueError` if latents cannot be computed before training.

    Args:
        config: the model's.
        streamed: true if the texts come as a [`BlockStream`].
    """
    encoder = config.encoder_options
    if not isinstance(encoder, PretrainedOptions) or encoder.trained:
        raise ValueError(
            "Only the latents of a fixed pretrained encoder can be had beforehand: name one in `encoder.name_or_path`, "
            "and leave `encoder.trained` false."
        )
    if streamed:
        raise ValueError(
            "Latents cannot be stored beside a stream of blocks, whose texts are read and cut anew in each epoch: "
            "train without precomputed ones, so that the encoder reads each batch, or give a data set on disk."
        )


def stores_latents(dataset: Any) -> bool | None:
    """True if a data set has precomputed latents; `None` if that is unknown before it is read."""
    if isinstance(dataset, BlockStream):
        return False
    names = getattr(dataset, "column_names", None)
    if names is None and not isinstance(dataset, torch.utils.data.IterableDataset):
        sized = hasattr(dataset, "__len__") and hasattr(dataset, "__getitem__")
        names = dataset[0] if sized and len(dataset) else None
    return None if names is None else COLUMN in names


def _fingerprint(dataset: Dataset, encoder: PretrainedEncoder, network: PreTrainedModel, dtype: str) -> str | None:
    """Returns the column's name in the cache, from texts, settings, and the encoder with its code, weights and
    tokenizers; `None` if one of them cannot be fingerprinted."""
    facts: list[Any] = [dataset._fingerprint, {name: getattr(encoder.config, name) for name in _OF_FEATURES}]
    facts += [encoder.options.pooling, encoder.options.projection, encoder.options.tokenizer]
    facts += [dtype, str(network.dtype), settings_of(network.config), transformers.__version__]
    # its modules in order, and the code of those that belong to no library
    facts += [[(name, type(part).__qualname__) for name, part in network.named_modules()]]
    facts.append(code_of(*dict.fromkeys(type(part) for part in network.modules())))
    if encoder.options.tokenizer == "own":
        tokenizers = encoder.model_tokenizer, encoder.pretrained.tokenizer()
        named = [fingerprint_of(tokenizer) for tokenizer in tokenizers if tokenizer is not None]
        facts += [text if whole else None for text, whole in named]
        facts.append("special tokens in a text are plain text")  # in older caches they were not
    else:
        facts.append(encoder.hidden_id(network))
    if None in facts:
        return None
    digest = hashlib.sha256(json.dumps(facts, sort_keys=True).encode())
    for name, weight in network.state_dict().items():
        digest.update(json.dumps([name, str(weight.dtype), list(weight.shape)]).encode())
        digest.update(weight.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()[:32]
