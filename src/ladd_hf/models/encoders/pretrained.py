"""A pretrained encoder of LADD: any `AutoModel`'s states, pooled to M latents. Paper, section 4.

A fixed encoder is not part of the model: the configuration holds its name, and it is loaded when a text is encoded and
never saved. A trained encoder is a part like any other.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, cast

import torch
from torch import Tensor, nn
from transformers import AutoConfig, AutoModel, PreTrainedTokenizerBase

from ...diffusion.channels import EncodedLatents
from ...diffusion.rng import RowGenerator
from ...utils.padding import padded
from ..call_checks import check_whole_texts
from ..chunks import check_shortest, even_chunks, range_mask, row_spans
from ..configuration_ladd import LaddConfig
from ..readouts import LatentReadout
from .encoder_options import PretrainedOptions
from .feature_noise import with_noise
from .pooling import POOLINGS, mean_states
from .source import EncoderSource, body, longest_text, settings_of
from .statistics import LatentStatistics
from .text_alignment import align, check_tells_places, mask_substitute
from .trained import check_lengths, drawn_latents, fixed_log_variance, normalized

_COLUMNS = ("input_ids", "attention_mask", "precomputed_latents")  # columns of a data set that are used here


class PretrainedEncoder(nn.Module):
    """The states of a pretrained network, pooled to M vectors and projected to size D.

    They are truncated to D dimensions and normalised (`features`), then standardised; with a learned projection they
    are standardised, projected and then normalised.

    Args:
        config: the model's configuration. In its `encoder`, `hidden_size` is filled in for a learned projection and
            `config` for a trained encoder.

    Raises `OSError` if the encoder's configuration is needed and not available, `ValueError` for an encoder that does
    not fit the configuration.
    """

    def __init__(self, config: LaddConfig) -> None:
        super().__init__()
        self.config, self.options = config, cast(PretrainedOptions, config.encoder_options)
        self.pooling = POOLINGS[self.options.pooling]
        self.pretrained = EncoderSource(self.options.name_or_path, self.options.revision)
        self.set_model_tokenizer(None)
        self.network: Any = None
        self._longest: int | None = None  # tokens that the network reads
        if self.options.trained:
            if self.options.config is None:
                self._note(config=settings_of(self.pretrained.config()))
            described = dict(self.options.config or {})
            kind = AutoConfig.for_model(described["model_type"])
            self.network = body(AutoModel.from_config(type(kind).from_dict(described)))
            self._check_size(self.network.config)
            self._longest = longest_text(self.network)
        elif self.options.projection == "learned" and not self.options.hidden_size:
            self._check_size(self.pretrained.config())
        learned = self.options.projection == "learned"
        width = self.options.hidden_size if learned else config.latent_dim
        self.statistics: LatentStatistics | None = None
        if self.options.standardization:
            self.statistics = LatentStatistics(width)
            self._keep_in_fp32_modules_strict = ["encoder.statistics"]  # the model reads it under this name
        self.projection = LatentReadout(width, config.latent_dim) if learned else None

    def _note(self, **found: Any) -> None:
        """Records properties of the encoder in its options, and so in the model's configuration."""
        self.options = replace(self.options, **found)
        self.config.encoder = self.options.spec("pretrained")

    def set_model_tokenizer(self, tokenizer: PreTrainedTokenizerBase | None) -> None:
        """Sets the tokenizer of the model's ids."""
        self.model_tokenizer = tokenizer
        self._checked = self._passes_gradients = False

    @property
    def feature_size(self) -> int:
        """Size of a vector of `features`: D, or before a learned projection that of the encoder's states."""
        return self.options.hidden_size if self.projection is not None else self.config.latent_dim

    def load_pretrained(self) -> None:
        """Loads the pretrained weights of a network that is trained."""
        self.network.load_state_dict(self.pretrained.load(self.network.dtype).state_dict())
        self._note(revision=self.pretrained.revision)
        if self.options.tokenizer == "shared":
            self.hidden_id(self.network)  # recorded in the configuration, in case the tokenizer is not available later

    def unload(self) -> None:
        """Frees a fixed network's memory; it is loaded again when a text is encoded."""
        self.pretrained.network = None

    def check(self, length: int | None = None) -> None:
        """Raises the errors of encoding a text, except for those of its weights, which it does not read.

        Args:
            length: number of the model's tokens in the longest text.

        Raises `OSError` for an encoder that is not available, and `ValueError` for one whose states, tokens or length
        do not fit, or that lacks a tokenizer.
        """
        network = self.pretrained.network if self.network is None else self.network
        network = self.pretrained.outline() if network is None else network
        self._check_network(network)
        if self.options.tokenizer == "own":
            for tokenizer, whose in zip(self._tokenizers(), ("model", "encoder"), strict=True):
                check_tells_places(tokenizer, whose)
            mask_substitute(self._tokenizers()[1])
        else:
            self.hidden_id(network)
            self._check_longest(length or 0)

    def check_noise(self, feature_noise: float) -> None:
        """Raises `ValueError` for noise on features from which nothing is learnt."""
        if feature_noise and self.projection is None:
            raise ValueError(
                f"The noise on the encoder's features (`encoder_noise`) is {feature_noise:g}, and nothing is learnt "
                "from them, they are cut to latents: leave it at 0, or set `encoder.projection` 'learned'."
            )

    def forward(
        self,
        tokens: Tensor,
        attention_mask: Tensor | None = None,
        random: RowGenerator | None = None,
        precomputed: Tensor | None = None,
        dtype: torch.dtype = torch.float32,
        feature_noise: float = 0.0,
    ) -> EncodedLatents:
        """Encodes `(B, S)` tokens, some of them possibly masked, or continues from their `precomputed` features.

        `random` supplies the noise of an encoder with a variance; `dtype` is the latents', and a fixed network's;
        `feature_noise` is that before a learned projection, see [`with_noise`]. Raises `ValueError` for texts that the
        encoder does not read, for features of another shape, and for noise without a learned projection.
        """
        self.check_noise(feature_noise)
        if precomputed is None:
            features = self.features(tokens, attention_mask, dtype)
        else:
            features = self.stored_features(precomputed, len(tokens))
        if self.statistics is not None:
            features = self.statistics(features)
        features = with_noise(features, feature_noise, random)
        if self.projection is None:
            vectors = features.to(dtype)
        else:
            vectors = normalized(self.projection(features.to(self.projection.weight.dtype)), self.config)
        fixed = self.options.variance == "fixed"
        return drawn_latents(vectors, fixed_log_variance(vectors, self.options) if fixed else None, random)

    def features(
        self, tokens: Tensor, attention_mask: Tensor | None = None, dtype: torch.dtype = torch.float32
    ) -> Tensor:
        """Computes the encoder's output for `(B, S)` tokens, `(B, M, feature_size)` float32, which may be precomputed.

        Each text has at least M tokens (see `check_lengths`).
        """
        if self.network is not None:
            if not torch.compiler.is_compiling():
                self._check_network(self.network)
            features = self._pooled(self.network, tokens, attention_mask)
        else:
            features = self._fixed_features(tokens, attention_mask, dtype)
        return features if self.projection is not None else normalized(features, self.config)

    @torch.compiler.disable
    @torch.no_grad()
    def _fixed_features(self, tokens: Tensor, attention_mask: Tensor | None, dtype: torch.dtype) -> Tensor:
        network = self.pretrained.on(tokens.device, dtype)
        self._note(revision=self.pretrained.revision)
        self._check_network(network)
        return self._pooled(network, tokens, attention_mask)

    def _pooled(self, network: Any, tokens: Tensor, attention_mask: Tensor | None) -> Tensor:
        starts, lengths = row_spans(attention_mask, tokens)
        read = self._own_tokens if self.options.tokenizer == "own" else self._shared_tokens
        ids, mask, chosen = read(network, tokens, attention_mask, starts, lengths)
        self._check_longest(ids.shape[1])
        if torch.is_grad_enabled() and network.is_activation_checkpointing and not self._passes_gradients:
            network.enable_input_require_grads()  # else reentrant checkpointing would block gradients
            self._passes_gradients = True
        states = network(input_ids=ids, attention_mask=mask).last_hidden_state
        pooled = mean_states(states, chosen)  # (B, M, H)
        return pooled if self.projection is not None else pooled[..., : self.config.latent_dim]

    def _shared_tokens(
        self, network: Any, tokens: Tensor, attention_mask: Tensor | None, starts: Tensor, lengths: Tensor
    ) -> tuple[Tensor, Tensor | None, Tensor]:
        """Returns the model's ids, hidden ones replaced, the encoder's mask, and the tokens that each latent reads."""
        ids = tokens.masked_fill(tokens.eq(cast(int, self.config.mask_token_id)), self.hidden_id(network))
        first, end = self.pooling.ranges(lengths, self.config.latent_length)
        chosen = range_mask(first, end, torch.zeros_like(starts), tokens.shape[1])
        if attention_mask is None:
            return ids, None, chosen
        places = torch.arange(tokens.shape[1], device=tokens.device)
        real = places < lengths[:, None]
        # The text is moved to the row's start, where an encoder may start counting positions, and padding to its end,
        # as an id that every encoder has.
        ids = ids.gather(1, (places + starts[:, None]) % tokens.shape[1]).masked_fill(~real, 0)
        return ids, real.long(), chosen

    def _own_tokens(
        self, network: Any, tokens: Tensor, attention_mask: Tensor | None, starts: Tensor, lengths: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Returns the texts in the encoder's tokens, its mask, and the tokens that each latent reads. Chunks follow the
        characters of the model's tokens; whole text and last token are the encoder's, with special tokens."""
        spelling, reading = self._tokenizers()
        spans = zip(starts.tolist(), lengths.tolist(), strict=True)
        rows = [ids[start : start + length] for ids, (start, length) in zip(tokens.tolist(), spans, strict=True)]
        check_shortest(min(map(len, rows), default=self.config.latent_length), self.config.latent_length)
        text = align(rows, spelling, reading, int(self.config.mask_token_id or 0))
        chosen = []
        count = self.pooling.num_chunks(self.config.latent_length)
        if count:
            chosen.append(text.overlapping(*even_chunks(lengths.cpu(), count)))
        if self.pooling.whole is not None:
            first, end = self.pooling.whole(text.lengths)
            chosen.append(range_mask(first, end, torch.zeros_like(text.lengths), text.input_ids.shape[1]))
        device = tokens.device
        return text.input_ids.to(device), text.attention_mask.to(device), torch.cat(chosen, dim=1).to(device)

    def _tokenizers(self) -> tuple[PreTrainedTokenizerBase, PreTrainedTokenizerBase]:
        """Returns the tokenizers of the model and the encoder. Raises `ValueError` if one is missing."""
        own = self.pretrained.tokenizer()
        if own is None:
            raise ValueError(
                f"`encoder.tokenizer` is 'own', but {self.pretrained.name!r} comes without a tokenizer: save one "
                "beside it, or set `encoder.tokenizer` to 'shared' where it reads the model's ids."
            )
        if self.model_tokenizer is None:
            raise ValueError(
                "The encoder has a tokenizer of its own, so the model's ids must be spelt out first: give the model "
                "its tokenizer by `model.set_tokenizer(tokenizer)`."
            )
        return self.model_tokenizer, own

    def hidden_id(self, network: Any) -> int:
        """Returns the encoder's id in place of the model's mask token."""
        if self.options.mask_token_id is not None:
            return self.options.mask_token_id
        tokenizer = self.pretrained.tokenizer()
        known: list[Any]
        if tokenizer is not None:
            known = [tokenizer.convert_tokens_to_ids(mask_substitute(tokenizer))]
        else:
            known = [getattr(network.config, name, None) for name in ("pad_token_id", "eos_token_id")]
        for one in known:
            if isinstance(one, int):
                self._note(mask_token_id=one)
                return one
        raise ValueError(
            f"The encoder {self.pretrained.name!r} comes without a tokenizer and names no padding or final token to "
            "read where tokens are hidden from it: give `encoder.mask_token_id`, or save its tokenizer beside it."
        )

    def _check_network(self, network: Any) -> None:
        """Raises `ValueError` if the network does not fit the configuration or the tokenizers; checks once."""
        if self._checked:
            return
        self._check_size(network.config)
        self._check_vocabulary(network.config)
        self._longest = longest_text(network)
        self._checked = True

    def _check_longest(self, length: int) -> None:
        if self._longest is not None and length > self._longest:
            raise ValueError(
                f"A text has {length} tokens of the encoder {self.pretrained.name!r}, which reads up to "
                f"{self._longest}: give shorter texts, or another encoder."
            )

    def _check_size(self, described: Any) -> None:
        """Fills in the size of the encoder's states. Raises `ValueError` if the configuration has another one."""
        latent_dim, hidden = self.config.latent_dim, described.get_text_config().hidden_size
        if self.options.hidden_size not in (0, hidden):
            raise ValueError(
                f"The encoder {self.pretrained.name!r} has states of size {hidden}, but `encoder.hidden_size` is "
                f"{self.options.hidden_size}: leave it out."
            )
        if self.options.projection == "cut" and hidden < latent_dim:
            raise ValueError(
                f"The encoder {self.pretrained.name!r} has states of size {hidden}, from which `latent_dim` "
                f"{latent_dim} cannot be cut: give a size of at most that, or `encoder.projection` 'learned'."
            )
        self._note(hidden_size=hidden)

    def _check_vocabulary(self, described: Any) -> None:
        """Raises `ValueError` if a shared vocabulary differs, or if the encoder lacks ids of its own tokenizer."""
        size = getattr(described.get_text_config(), "vocab_size", None)
        if self.options.tokenizer == "own":
            self._check_own_vocabulary(size)
            return
        instead = "set `encoder.tokenizer` to 'own', by which it reads the text itself"
        its_own = {self.config.mask_token_id, self.config.pad_token_id} - {None}
        if size is not None and self.config.vocab_size - len(its_own) > size:
            raise ValueError(
                f"The model has {self.config.vocab_size} tokens, the encoder {self.pretrained.name!r} {size}, so they "
                f"do not share their ids: {instead}."
            )
        if self.model_tokenizer is None or (self.network is not None and not self.pretrained.reached):
            return
        tokenizer = self.pretrained.tokenizer()
        if tokenizer is None:
            return
        known = tokenizer.get_vocab()
        for token, one in self.model_tokenizer.get_vocab().items():
            if one not in its_own and known.get(token) != one:
                raise ValueError(
                    f"The model's tokenizer has {token!r} as id {one}, the encoder {self.pretrained.name!r} does not, "
                    f"so they do not share their ids: {instead}."
                )

    def _check_own_vocabulary(self, size: int | None) -> None:
        tokenizer = self.pretrained.tokenizer()
        if tokenizer is None or size is None:
            return
        read = {token: one for token, one in tokenizer.get_vocab().items() if token != tokenizer.pad_token}
        last = max(read, key=lambda token: read[token], default=None)
        if last is not None and read[last] >= size:
            raise ValueError(
                f"The tokenizer of the encoder {self.pretrained.name!r} has {last!r} as id {read[last]}, but the "
                f"encoder has {size} tokens: give a folder or a repository where the two belong together in "
                "`encoder.name_or_path`."
            )

    def stored_features(self, features: Tensor, count: int) -> Tensor:
        """Returns precomputed features of `count` texts, `(B, M, feature_size)` float32.

        Raises `ValueError` for features of another shape, and if the encoder is trained.
        """
        if self.options.trained:
            raise ValueError(
                "The encoder is trained (`encoder.trained`), so its latents cannot be had beforehand: leave the "
                "precomputed ones out."
            )
        shape = (count, self.config.latent_length, self.feature_size)
        flat = (count, shape[1] * shape[2])
        if features.shape not in (shape, flat) or not features.is_floating_point():
            raise ValueError(
                f"`precomputed_latents` have shape {tuple(features.shape)} and dtype {features.dtype}; this model "
                f"takes floats of shape {shape}, or {flat} as `precompute_latents` stores them."
            )
        return features.float().view(shape)


def check_pretrained_encoder(
    config: LaddConfig, tokenizer: PreTrainedTokenizerBase | None = None, length: int | None = None
) -> None:
    """Raises an error if a model's pretrained encoder, if any, cannot encode texts: see [`PretrainedEncoder.check`].

    For use before there is a model: it reads the encoder's configuration and tokenizer, and no weights.

    Args:
        config: the model's configuration.
        tokenizer: the model's tokenizer.
        length: number of the model's tokens in the longest text.
    """
    if isinstance(config.encoder_options, PretrainedOptions):
        with torch.device("meta"):
            encoder = PretrainedEncoder(copy.deepcopy(config))
        encoder.set_model_tokenizer(tokenizer)
        encoder.check(length)


def feature_batches(
    encoder: PretrainedEncoder, batches: Iterable[Mapping[str, Tensor]], dtype: torch.dtype
) -> Iterator[Tensor]:
    """Yields the features of batches of tokens, computed or precomputed."""
    for batch in batches:
        tokens, mask, stored = batch["input_ids"], batch.get("attention_mask"), batch.get("precomputed_latents")
        if stored is None:
            check_whole_texts(encoder.config, tokens, mask)
            check_lengths(encoder.config, tokens, mask, wait=True)
            yield encoder.features(tokens, mask, dtype)
        else:
            yield encoder.stored_features(stored, len(tokens))


def batches_of(
    data: Iterable[Mapping[str, Any]], num_examples: int | None, filler: int, device: torch.device, size: int = 64
) -> Iterator[dict[str, Tensor]]:
    """Yields the first `num_examples` examples in batches of `size`; existing batches are yielded unchanged.

    A stream is read from its current position, which does not change.
    """
    if hasattr(data, "load_state_dict"):
        data = copy.copy(data)
    waiting: list[Mapping[str, Any]] = []
    seen = 0
    for item in data:
        check_tokenized(item)
        if num_examples is not None and seen >= num_examples:
            break
        if torch.as_tensor(item["input_ids"]).ndim == 2:
            seen += len(item["input_ids"])
            yield {name: torch.as_tensor(item[name], device=device) for name in _COLUMNS if name in item}
            continue
        seen += 1
        waiting.append(item)
        if len(waiting) == size:
            yield stacked(waiting, filler, device)
            waiting = []
    if waiting:
        yield stacked(waiting, filler, device)


def check_tokenized(names: Iterable[str]) -> None:
    """Raises `ValueError` for a data set without a column of tokens."""
    if "input_ids" not in (found := list(names)):
        raise ValueError(
            f"The examples have the columns {', '.join(map(repr, found))}, and no `input_ids`: tokenize the texts, for "
            "instance by `token_blocks` of `ladd_hf.data`."
        )


def stacked(examples: Sequence[Mapping[str, Any]], filler: int, device: torch.device) -> dict[str, Tensor]:
    """Returns an encoder's inputs for some examples, texts padded at their ends."""
    rows = [torch.as_tensor(example["input_ids"]).long() for example in examples]
    masks = [
        torch.as_tensor(x["attention_mask"]) if "attention_mask" in x else torch.ones_like(row)
        for x, row in zip(examples, rows, strict=True)
    ]
    batch = {"input_ids": padded(rows, filler).to(device)}
    mask = padded(masks)
    if not mask.all():
        batch["attention_mask"] = mask.to(device)
    if "precomputed_latents" in examples[0]:
        stored = [torch.as_tensor(example["precomputed_latents"]).float() for example in examples]
        batch["precomputed_latents"] = torch.stack(stored).to(device)
    return batch
