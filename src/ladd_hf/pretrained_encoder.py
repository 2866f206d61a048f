"""A pretrained encoder of LADD: any `AutoModel`'s states, pooled to M latents. Paper, section 4.

A fixed encoder is no part of the model: it is named in the configuration, loaded where a text is to be encoded, and
never saved. One that is trained is a part like any other.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn
from transformers import AutoConfig, AutoModel, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase
from transformers.utils.hub import cached_file

from .configuration_ladd import LaddConfig
from .latent_channels import EncodedLatents
from .latent_encoder import LatentReadout, drawn_latents, fixed_log_variance, normalized, row_spans
from .poolings import POOLINGS, even_chunks, mean_states, members
from .randomness import RowGenerator
from .text_alignment import align, stand_in

_COLUMNS = ("input_ids", "attention_mask", "precomputed_latents")  # of a data set, that matter here


class Pretrained:
    """Where an encoder's weights and tokenizer come from, loaded when they are asked for and shared by copies.

    Not a module: what a module holds would be moved, counted, averaged, sharded and saved with the model.

    Args:
        name: on the Hub, or a folder.
        revision: branch, tag or commit.
    """

    def __init__(self, name: str, revision: str | None = None) -> None:
        self.name = name
        self.revision = revision
        self.network: PreTrainedModel | None = None
        self.reached = False  # whether weights have come from there
        self._tokenizer: PreTrainedTokenizerBase | None = None

    def __deepcopy__(self, memo: dict[int, Any]) -> Pretrained:
        return self

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "network": None}

    def config(self) -> Any:
        """The encoder's configuration. Raises `OSError` where it can not be had."""
        return self._fetched(AutoConfig.from_pretrained, "configuration")

    def on(self, device: torch.device, dtype: torch.dtype) -> PreTrainedModel:
        """The fixed network, in evaluation mode. Raises `OSError` where it can not be had, `ValueError` where its
        weights are not whole."""
        if self.network is None or self.network.dtype != dtype:
            self.network = self.load(dtype).requires_grad_(False).eval()
        if self.network.device != device:
            self.network = self.network.to(device)  # type: ignore[arg-type]
        return self.network

    def load(self, dtype: torch.dtype) -> PreTrainedModel:
        """The network with its pretrained weights, anew."""
        options = {"dtype": dtype, "use_safetensors": True, "output_loading_info": True}
        network, info = self._fetched(AutoModel.from_pretrained, "weights", **options)
        network = body(network)
        missing = sorted(set(info["missing_keys"]) & set(network.state_dict()))
        if missing:
            raise ValueError(
                f"The encoder {self.name!r} lacks weights ({missing[0]} and {len(missing) - 1} more): give a whole "
                "checkpoint in `encoder_name_or_path`."
            )
        self.reached = True
        self.revision = self.revision or getattr(network.config, "_commit_hash", None)
        return network

    def tokenizer(self) -> PreTrainedTokenizerBase | None:
        """The encoder's tokenizer, or `None` where it comes without one."""
        if self._tokenizer is None:
            files = ("tokenizer.json", "tokenizer_config.json")
            options = {"revision": self.revision, "_raise_exceptions_for_missing_entries": False}
            if any(cached_file(self.name, file, **options) is not None for file in files):
                self._tokenizer = self._fetched(AutoTokenizer.from_pretrained, "tokenizer")
        return self._tokenizer

    def _fetched(self, load: Any, what: str, **options: Any) -> Any:
        try:
            return load(self.name, revision=self.revision, **options)
        except OSError as error:
            raise OSError(
                f"The {what} of the encoder {self.name!r} can not be loaded ({str(error).splitlines()[0]}); texts are "
                "encoded by it: give a folder or a repository that can be reached in `encoder_name_or_path`, or train "
                "on latents that `precompute_latents` has stored. Generating needs no encoder."
            ) from error


def body(network: Any) -> PreTrainedModel:
    """What gives a network's states: without a pooler, which nobody reads, or the first half of an encoder-decoder."""
    if network.config.is_encoder_decoder:
        network = network.get_encoder()
    if getattr(network, "pooler", None) is not None:
        network.pooler = None
    network.config.use_cache = False
    return network


class LatentStatistics(nn.Module):
    """Mean and deviation of each dimension over the texts they were gathered on, float32 whatever the model's dtype.

    A deviation of 0 throughout tells that nothing was gathered yet.

    Args:
        size: number of dimensions.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, size: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(size))
        self.register_buffer("std", torch.zeros(size))
        self._gathered = False

    def forward(self, features: Tensor) -> Tensor:
        """`(B, M, size)` features at mean 0 and variance 1. Raises `ValueError` before anything was gathered."""
        if not self.gathered:
            raise ValueError(
                "The latents are to be standardised (`latent_standardization`), but by no statistics yet: call "
                "`model.gather_latent_statistics(dataset)` once, before training."
            )
        return (features.float() - self.mean) / self.std

    @property
    def gathered(self) -> bool:
        """Whether there are statistics."""
        self._gathered = self._gathered or bool(self.std.any())
        return self._gathered

    @torch.no_grad()
    def gather(self, batches: Iterable[Tensor]) -> int:
        """Takes mean and deviation over `(B, M, size)` features, and returns how many vectors there were.

        A dimension that never changes keeps its scale. Raises `ValueError` for less than two vectors.
        """
        count, shift = 0, None
        sums = squares = torch.zeros(())
        for batch in batches:
            rows = batch.flatten(0, -2).double()
            shift = rows.mean(0) if shift is None else shift  # near the mean, the squares cancel little
            count, sums, squares = (
                count + len(rows),
                sums + (rows - shift).sum(0).cpu(),
                squares + (rows - shift).square().sum(0).cpu(),
            )
        if shift is None or count < 2:
            raise ValueError(f"Statistics of latents need at least 2 of them, but there are {count}: give more texts.")
        offset = sums / count
        std = (squares / count - offset.square()).clamp(min=0).sqrt()
        scale = (shift.cpu() + offset).abs()
        self.mean.copy_(shift.cpu() + offset)
        self.std.copy_(torch.where(std > 1e-6 * scale, std, 1.0))
        self._gathered = True
        return count

    def _apply(self, fn: Any, recurse: bool = True) -> LatentStatistics:
        kept = dict(self.named_buffers())
        super()._apply(fn, recurse)
        for name, before in kept.items():  # devices as asked for, but never half the precision
            after = getattr(self, name)
            if after.dtype != before.dtype:
                setattr(self, name, before.to(after.device))
        return self


class PretrainedEncoder(nn.Module):
    """The states of a pretrained network, pooled to M vectors and brought to size D.

    They are cut to D dimensions and normalised (`features`), then standardised; with a learned projection they are
    standardised whole, projected, and then normalised.

    Args:
        config: the model's; `encoder_hidden_size` is filled in where a learned projection needs it, and
            `encoder_config` where the encoder is trained.

    Raises `OSError` where the encoder's configuration is needed and can not be had, `ValueError` for an encoder that
    does not fit the configuration.
    """

    _keep_in_fp32_modules_strict = ["encoder.statistics"]  # by its name in the model, which reads it here

    def __init__(self, config: LaddConfig) -> None:
        super().__init__()
        self.config = config
        self.pooling = POOLINGS[config.encoder_pooling]
        self.pretrained = Pretrained(str(config.encoder_name_or_path), config.encoder_revision)
        self.set_model_tokenizer(None)
        self.network: Any = None
        if config.encoder_trained:
            if config.encoder_config is None:
                described = json.loads(self.pretrained.config().to_json_string(use_diff=False))
                config.encoder_config = {k: v for k, v in described.items() if k not in ("dtype", "_name_or_path")}
            kind = AutoConfig.for_model(config.encoder_config["model_type"])
            self.network = body(AutoModel.from_config(type(kind).from_dict(config.encoder_config)))
            self._check_size(self.network.config)
        elif config.encoder_projection == "learned" and not config.encoder_hidden_size:
            self._check_size(self.pretrained.config())
        learned = config.encoder_projection == "learned"
        width = config.encoder_hidden_size if learned else config.latent_dim
        self.statistics = LatentStatistics(width) if config.latent_standardization else None
        self.projection = LatentReadout(width, config.latent_dim) if learned else None

    def set_model_tokenizer(self, tokenizer: PreTrainedTokenizerBase | None) -> None:
        """Which tokenizer the model's ids are of."""
        self.model_tokenizer = tokenizer
        self._checked = False

    @property
    def feature_size(self) -> int:
        """Size of a vector of `features`: D, or before a learned projection that of the encoder's states."""
        return self.config.encoder_hidden_size if self.projection is not None else self.config.latent_dim

    def load_pretrained(self) -> None:
        """Gives a network that is trained its pretrained weights."""
        self.network.load_state_dict(self.pretrained.load(self.network.dtype).state_dict())
        self.config.encoder_revision = self.pretrained.revision
        if self.config.encoder_tokenizer == "shared":
            self._hidden_id(self.network)  # noted in the configuration, for where the tokenizer can not be reached

    def unload(self) -> None:
        """Lets go of a fixed network's memory; it is loaded again where a text is to be encoded."""
        self.pretrained.network = None

    def forward(
        self,
        tokens: Tensor,
        attention_mask: Tensor | None = None,
        random: RowGenerator | None = None,
        precomputed: Tensor | None = None,
        dtype: torch.dtype = torch.float32,
    ) -> EncodedLatents:
        """Encodes `(B, S)` tokens, some of them possibly masked, or goes on from their `precomputed` features.

        `random` supplies the noise of an encoder with a variance; `dtype` is the latents', and a fixed network's.
        Raises `ValueError` for texts that have fewer tokens than latents, and for features of another shape.
        """
        if precomputed is None:
            features = self.features(tokens, attention_mask, dtype)
        else:
            features = self.stored_features(precomputed, len(tokens))
        if self.statistics is not None:
            features = self.statistics(features)
        if self.projection is None:
            vectors = features.to(dtype)
        else:
            vectors = normalized(self.projection(features.to(self.projection.weight.dtype)), self.config)
        fixed = self.config.encoder_variance == "fixed"
        return drawn_latents(vectors, fixed_log_variance(vectors, self.config) if fixed else None, random)

    def features(
        self, tokens: Tensor, attention_mask: Tensor | None = None, dtype: torch.dtype = torch.float32
    ) -> Tensor:
        """What the encoder alone says of `(B, S)` tokens, `(B, M, feature_size)` float32: what may be precomputed."""
        if self.network is not None:
            features = self._pooled(self.network, tokens, attention_mask)
        else:
            features = self._fixed_features(tokens, attention_mask, dtype)
        return features if self.projection is not None else normalized(features, self.config)

    @torch.compiler.disable
    @torch.no_grad()
    def _fixed_features(self, tokens: Tensor, attention_mask: Tensor | None, dtype: torch.dtype) -> Tensor:
        network = self.pretrained.on(tokens.device, dtype)
        self.config.encoder_revision = self.pretrained.revision
        return self._pooled(network, tokens, attention_mask)

    def _pooled(self, network: Any, tokens: Tensor, attention_mask: Tensor | None) -> Tensor:
        if not self._checked:
            self._check_size(network.config)
            self._check_vocabulary(network.config)
            self._checked = True
        starts, lengths = row_spans(attention_mask, tokens)
        if not torch.compiler.is_compiling():
            self.pooling.check_lengths(self.config.encoder_pooling, lengths, self.config.latent_length)
        read = self._own_tokens if self.config.encoder_tokenizer == "own" else self._shared_tokens
        ids, mask, chosen = read(network, tokens, attention_mask, starts, lengths)
        longest = getattr(network.config, "max_position_embeddings", None)
        if longest is not None and ids.shape[1] > longest:
            raise ValueError(
                f"A text has {ids.shape[1]} tokens of the encoder {self.pretrained.name!r}, which reads up to "
                f"{longest}: give shorter texts, or another encoder."
            )
        states = network(input_ids=ids, attention_mask=mask).last_hidden_state
        pooled = mean_states(states, chosen)  # (B, M, H)
        return pooled if self.projection is not None else pooled[..., : self.config.latent_dim]

    def _shared_tokens(
        self, network: Any, tokens: Tensor, attention_mask: Tensor | None, starts: Tensor, lengths: Tensor
    ) -> tuple[Tensor, Tensor | None, Tensor]:
        """The model's own ids, hidden ones as the encoder knows them; its mask; and which tokens each latent reads."""
        ids = tokens.masked_fill(tokens.eq(cast(int, self.config.mask_token_id)), self._hidden_id(network))
        first, end = self.pooling.ranges(lengths, self.config.latent_length)
        chosen = members(first, end, torch.zeros_like(starts), tokens.shape[1])
        if attention_mask is None:
            return ids, None, chosen
        places = torch.arange(tokens.shape[1], device=tokens.device)
        real = places < lengths[:, None]
        # The text goes to the row's start, for an encoder may count its positions from there, and padding to its end,
        # as a token that the encoder has whatever the model's is.
        ids = ids.gather(1, (places + starts[:, None]) % tokens.shape[1]).masked_fill(~real, 0)
        return ids, real.long(), chosen

    def _own_tokens(
        self, network: Any, tokens: Tensor, attention_mask: Tensor | None, starts: Tensor, lengths: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """The texts in the encoder's tokens; its mask; and which of them each latent reads: chunks by the characters
        of the model's tokens, the whole text or the last token by the encoder's, special ones counted."""
        tokenizer = self.pretrained.tokenizer()
        if tokenizer is None:
            raise ValueError(
                f"`encoder_tokenizer` is 'own', but {self.pretrained.name!r} comes without a tokenizer: save one "
                "beside it, or set `encoder_tokenizer` to 'shared' where it reads the model's ids."
            )
        if self.model_tokenizer is None:
            raise ValueError(
                "The encoder has a tokenizer of its own, so the model's ids must be spelt out first: give the model "
                "its tokenizer by `model.set_tokenizer(tokenizer)`."
            )
        spans = zip(starts.tolist(), lengths.tolist(), strict=True)
        rows = [ids[start : start + length] for ids, (start, length) in zip(tokens.tolist(), spans, strict=True)]
        text = align(rows, self.model_tokenizer, tokenizer, int(self.config.mask_token_id or 0))
        chosen = []
        count = self.pooling.num_chunks(self.config.latent_length)
        if count:
            chosen.append(text.overlapping(*even_chunks(lengths.cpu(), count)))
        if self.pooling.whole is not None:
            first, end = self.pooling.whole(text.lengths)
            chosen.append(members(first, end, torch.zeros_like(text.lengths), text.input_ids.shape[1]))
        device = tokens.device
        return text.input_ids.to(device), text.attention_mask.to(device), torch.cat(chosen, dim=1).to(device)

    def _hidden_id(self, network: Any) -> int:
        """The id that an encoder reads where one of the model's ids is the mask token."""
        if self.config.encoder_mask_token_id is not None:
            return self.config.encoder_mask_token_id
        tokenizer = self.pretrained.tokenizer()
        known: list[Any]
        if tokenizer is not None:
            known = [tokenizer.convert_tokens_to_ids(stand_in(tokenizer))]
        else:
            known = [getattr(network.config, name, None) for name in ("pad_token_id", "eos_token_id")]
        for one in known:
            if isinstance(one, int):
                self.config.encoder_mask_token_id = one
                return one
        raise ValueError(
            f"The encoder {self.pretrained.name!r} comes without a tokenizer and names no padding or final token to "
            "read where tokens are hidden from it: give `encoder_mask_token_id`, or save its tokenizer beside it."
        )

    def _check_size(self, described: Any) -> None:
        """Fills in the size of the encoder's states. Raises `ValueError` where it is not the configuration's."""
        config, hidden = self.config, described.get_text_config().hidden_size
        if config.encoder_hidden_size not in (0, hidden):
            raise ValueError(
                f"The encoder {self.pretrained.name!r} has states of size {hidden}, but `encoder_hidden_size` is "
                f"{config.encoder_hidden_size}: leave it out."
            )
        if config.encoder_projection == "cut" and hidden < config.latent_dim:
            raise ValueError(
                f"The encoder {self.pretrained.name!r} has states of size {hidden}, from which `latent_dim` "
                f"{config.latent_dim} can not be cut: give a size of at most that, or `encoder_projection` 'learned'."
            )
        config.encoder_hidden_size = hidden

    def _check_vocabulary(self, described: Any) -> None:
        """Raises `ValueError` where a shared vocabulary is none."""
        if self.config.encoder_tokenizer == "own":
            return
        instead = "set `encoder_tokenizer` to 'own', by which it reads the text itself"
        its_own = {self.config.mask_token_id, self.config.pad_token_id} - {None}
        size = getattr(described.get_text_config(), "vocab_size", None)
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

    def stored_features(self, features: Tensor, count: int) -> Tensor:
        """Features of `count` texts that were computed before, `(B, M, feature_size)` float32.

        Raises `ValueError` for those of another shape, and where the encoder is trained.
        """
        if self.config.encoder_trained:
            raise ValueError(
                "The encoder is trained (`encoder_trained`), so its latents can not be had beforehand: leave the "
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


def feature_batches(
    encoder: PretrainedEncoder, batches: Iterable[Mapping[str, Tensor]], dtype: torch.dtype
) -> Iterator[Tensor]:
    """Features of batches of tokens, or those that the batches have brought along."""
    for batch in batches:
        tokens, stored = batch["input_ids"], batch.get("precomputed_latents")
        if stored is None:
            yield encoder.features(tokens, batch.get("attention_mask"), dtype)
        else:
            yield encoder.stored_features(stored, len(tokens))


def batches_of(
    data: Iterable[Mapping[str, Any]], num_examples: int | None, filler: int, device: torch.device, size: int = 64
) -> Iterator[dict[str, Tensor]]:
    """The first `num_examples` examples in batches of `size`; what comes in batches already stays as it is."""
    waiting: list[Mapping[str, Any]] = []
    seen = 0
    for item in data:
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


def stacked(examples: Sequence[Mapping[str, Any]], filler: int, device: torch.device) -> dict[str, Tensor]:
    """What an encoder reads of some examples, texts padded at their ends."""
    rows = [torch.as_tensor(example["input_ids"]).long() for example in examples]
    masks = [
        torch.as_tensor(x["attention_mask"]) if "attention_mask" in x else torch.ones_like(row)
        for x, row in zip(examples, rows, strict=True)
    ]
    pad = nn.utils.rnn.pad_sequence
    batch = {"input_ids": pad(rows, True, filler).to(device)}
    mask = pad(masks, True, 0)
    if not mask.all():
        batch["attention_mask"] = mask.to(device)
    if "precomputed_latents" in examples[0]:
        stored = [torch.as_tensor(example["precomputed_latents"]).float() for example in examples]
        batch["precomputed_latents"] = torch.stack(stored).to(device)
    return batch
