"""Loading of a pretrained encoder's configuration, network and tokenizer, by name."""

from __future__ import annotations

import inspect
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import nn
from transformers import AutoConfig, AutoModel, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase
from transformers.utils.hub import cached_file

from .installed import location

# Errors of other libraries for files that are missing, damaged or foreign.
_ERRORS = (OSError, ValueError, KeyError, ImportError, RuntimeError, SafetensorError)


class EncoderSource:
    """Source of an encoder's weights and tokenizer, loaded on first use and shared by copies.

    Not a `torch.nn.Module`, which would be moved, counted, averaged, sharded and saved with the model.
    Raises `OSError` with one sentence if something cannot be loaded: unreachable, damaged or of an unknown kind.

    Args:
        name: name on the Hub, a folder, or a folder of an installed Python package (see [`location`]).
        revision: branch, tag or commit.
    """

    def __init__(self, name: str, revision: str | None = None) -> None:
        self.name = name
        self.revision = revision
        self.network: PreTrainedModel | None = None
        self.reached = False  # true once weights have been loaded
        self._tokenizer: PreTrainedTokenizerBase | None = None

    def __deepcopy__(self, memo: dict[int, Any]) -> EncoderSource:
        return self

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "network": None}

    def config(self) -> Any:
        """The encoder's configuration."""
        place = location(self.name)
        with self._named("configuration"):
            return AutoConfig.from_pretrained(place, revision=self.revision)

    def outline(self) -> PreTrainedModel:
        """Returns the network without weights, on the meta device."""
        config = self.config()
        with self._named("network"), torch.device("meta"):
            return body(AutoModel.from_config(config))

    def on(self, device: torch.device, dtype: torch.dtype) -> PreTrainedModel:
        """Returns the fixed network, in evaluation mode. Raises `ValueError` for incomplete weights."""
        if self.network is None or self.network.dtype != dtype:
            self.network = self.load(dtype).requires_grad_(False).eval()
        if self.network.device != device:
            self.network = self.network.to(device)  # type: ignore[arg-type]
        return self.network

    def load(self, dtype: torch.dtype) -> PreTrainedModel:
        """Loads the network with its pretrained weights. Raises `ValueError` for incomplete weights."""
        options: dict[str, Any] = {"dtype": dtype, "use_safetensors": True, "output_loading_info": True}
        place = location(self.name)
        with self._named("weights"):
            whole, info = AutoModel.from_pretrained(place, revision=self.revision, **options)
        network = body(whole)
        used = {id(weight) for weight in network.state_dict(keep_vars=True).values()}
        named = whole.state_dict(keep_vars=True)
        missing = sorted(name for name in info["missing_keys"] if name in named and id(named[name]) in used)
        if missing:
            raise ValueError(
                f"The encoder {self.name!r} lacks weights ({missing[0]} and {len(missing) - 1} more): give a whole "
                "checkpoint in `encoder.name_or_path`."
            )
        self.reached = True
        self.revision = self.revision or getattr(network.config, "_commit_hash", None)
        return network

    def tokenizer(self) -> PreTrainedTokenizerBase | None:
        """Returns the encoder's tokenizer, or `None` if it has none."""
        if self._tokenizer is None:
            files = ("tokenizer.json", "tokenizer_config.json")
            place = location(self.name)
            options = {"revision": self.revision, "_raise_exceptions_for_missing_entries": False}
            with self._named("tokenizer"):
                if any(cached_file(place, file, **options) is not None for file in files):
                    self._tokenizer = AutoTokenizer.from_pretrained(place, revision=self.revision)
        return self._tokenizer

    @contextmanager
    def _named(self, what: str) -> Iterator[None]:
        """Context in which errors state in one sentence what could not be loaded."""
        try:
            yield
        except _ERRORS as error:
            cause = (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".: ")
            if Path(self.name).is_absolute() and not Path(self.name).is_dir():
                cause = "there is no such folder"  # the Hub's client would reject the name instead
            raise OSError(
                f"The {what} of the encoder {self.name!r} cannot be loaded ({cause}); texts are encoded by it: give "
                "the folder or the repository of a whole model that `AutoModel` loads, its weights as safetensors, in "
                "`encoder.name_or_path`, or train on latents that `precompute_latents` has stored. Generating needs no "
                "encoder."
            ) from error


def settings_of(config: Any) -> dict[str, Any]:
    """Returns the settings of a network in its configuration, without its origin and dtype."""
    settings = json.loads(config.to_json_string(use_diff=False))
    return {name: value for name, value in settings.items() if name not in ("dtype", "_name_or_path")}


def body(network: Any) -> PreTrainedModel:
    """Returns the part of a network that computes states: without a pooler, or the encoder of an encoder-decoder."""
    # a checkpoint of an encoder alone has `is_encoder_decoder` false, but is loaded into an encoder-decoder
    takes = inspect.signature(type(network).forward).parameters
    if network.config.is_encoder_decoder or "decoder_input_ids" in takes:
        network = network.get_encoder()
    if getattr(network, "pooler", None) is not None:
        network.pooler = None
    network.config.use_cache = False
    return network


def longest_text(network: Any) -> int | None:
    """Returns the greatest number of tokens that a network reads, `None` for any number."""
    limit = getattr(network.config.get_text_config(), "max_position_embeddings", None)
    for name, module in network.named_modules():
        # as in RoBERTa's family, whose padding token has a position of its own, before those of texts
        of_positions = name.rpartition(".")[2] == "position_embeddings" and isinstance(module, nn.Embedding)
        if of_positions and module.padding_idx is not None:
            limit = module.num_embeddings - module.padding_idx - 1
    return limit if limit is not None and limit > 0 else None
