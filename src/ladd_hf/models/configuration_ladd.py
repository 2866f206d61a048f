"""Configuration of LADD models: everything that shapes weights or defines the two noise processes."""

import math
from dataclasses import fields
from difflib import get_close_matches
from typing import Any, Literal

from huggingface_hub.dataclasses import strict
from transformers import PreTrainedConfig

from ..diffusion.noise_schedules import gaussian_schedule, mask_schedule
from ..utils.number_ranges import (
    AT_LEAST_ONE,
    COUNT,
    COUNT_OR_ZERO,
    NOT_NEGATIVE,
    POSITIVE,
    SHARE,
    SHARE_BELOW_ONE,
    WEIGHT,
    NumberRange,
    check_ranges,
    whole,
)
from .encoders.pooling import POOLINGS
from .text_frame import TextFrame
from .text_lengths import check_lengths
from .vocabulary import ids_of

# hidden size, layers, attention heads, size of the time conditioning. Paper, section 5.
MODEL_SIZES: dict[str, tuple[int, int, int, int]] = {
    "XXS": (32, 4, 2, 16),
    "XS": (64, 4, 4, 32),
    "S": (384, 12, 6, 128),
    "B": (768, 12, 12, 128),
    "L": (1024, 24, 16, 256),
    "XL": (1152, 28, 16, 256),
}

FORMAT_VERSION = 1

# Settings that mean something for one type of latents alone.
_OF_CONTINUOUS = ("separate_latent_denoiser", "latent_prediction_type", "encoder_variance")
_OF_CODES = ("codebook_size", "quantizer", "fsq_levels")
# Settings that mean something for a pretrained encoder alone, and for one of our own.
_OF_PRETRAINED = (
    *("encoder_revision", "encoder_config", "encoder_pooling", "encoder_projection", "encoder_tokenizer"),
    *("encoder_mask_token_id", "encoder_trained", "latent_standardization"),
)
_OF_OWN_ENCODER = ("encoder_num_hidden_layers", "encoder_num_attention_heads", "encoder_readout")

_TOKEN_ID = whole(0, "an id of the vocabulary, from 0 to `vocab_size` - 1")
# What each setting that is a number may be; the ids that are not here are looked at beside the size of the vocabulary.
NUMBER_RANGES: dict[str, NumberRange] = {
    "vocab_size": whole(2, "a number of tokens of at least 2, the mask token counted"),
    "tokenizer_size": COUNT,
    **dict.fromkeys(("mask_token_id", "pad_token_id", "bos_token_id", "eos_token_id"), _TOKEN_ID),
    **dict.fromkeys(("hidden_size", "num_hidden_layers", "num_attention_heads", "cond_hidden_size"), COUNT),
    **dict.fromkeys(("mlp_ratio", "max_position_embeddings", "latent_head_hidden_size", "format_version"), COUNT),
    "attention_dropout": SHARE_BELOW_ONE,
    "layer_norm_eps": POSITIVE,
    "initializer_range": POSITIVE,
    **dict.fromkeys(("latent_length", "latent_dim", "codebook_size", "latent_head_layers"), COUNT_OR_ZERO),
    "latent_denoiser_num_layers": COUNT_OR_ZERO,
    **dict.fromkeys(("encoder_num_hidden_layers", "encoder_hidden_size"), COUNT_OR_ZERO),
    **dict.fromkeys(("encoder_num_attention_heads", "encoder_mask_token_id"), COUNT_OR_ZERO),
    "encoder_std": NOT_NEGATIVE,
    "codebook_decay": SHARE,
    "codebook_dead_code_threshold": COUNT_OR_ZERO,
    "commitment_weight": WEIGHT,
    "gumbel_temperature": POSITIVE,
}


@strict
class LaddConfig(PreTrainedConfig):
    r"""Configuration of [`LaddModel`] and [`LaddForDiffusionLM`]. Paper, sections 2 to 5.

    Args:
        vocab_size (`int`, defaults to 50258): size of the vocabulary, the mask token counted.
        mask_token_id (`int`, *optional*): id of the mask token; the last id of the vocabulary if not given.
        pad_token_id (`int`, *optional*): id of the padding token, which must differ from the mask token. It is never
            written and has no probability, unless it begins or ends texts as well.
        bos_token_id (`int`, *optional*), eos_token_id (`int` or a list, *optional*): ids that begin and end texts;
            they must differ from the mask token.
        tokenizer_size (`int`, *optional*): how many ids the tokenizer has, where the vocabulary is larger: those from
            it up have no token, are never written and have no probability. Trainer and pipeline take it from their
            tokenizer, `resize_token_embeddings` sets it where it fills a vocabulary up.
        hidden_size, num_hidden_layers, num_attention_heads, cond_hidden_size (`int`):
            sizes of both streams and of the time conditioning; see [`LaddConfig.from_size`] for the paper's.
        mlp_ratio (`int`, defaults to 4): width of the MLPs in units of `hidden_size`.
        attention_dropout (`float`, defaults to 0): dropout of attention weights in training.
        layer_norm_eps (`float`, defaults to 1e-5): added to the variance in every norm.
        initializer_range (`float`, *optional*): standard deviation of initial weights; hidden_size^(-1/2) if not given,
            so that linear maps of states keep unit variance at any width.
        rope_parameters (`dict`, *optional*): `rope_theta`, the base of the rotary frequencies (10,000 if not given);
            the `rope_type` is `default`.
        tie_word_embeddings (`bool`, defaults to `False`): one matrix for token embeddings and vocabulary projection.
        max_position_embeddings (`int`, defaults to 1024): longest token sequence, and the length generated by default.
        latent_type (`"none"`, `"continuous"`, `"discrete"`): no latents (this is MDLM), Co-LADD or Di-LADD.
        latent_length (`int`): number M of latents.
        latent_dim (`int`): size D of a latent; for codes, of a codebook vector.
        codebook_size (`int`): number K of codes; the mask code is one more, with id `codebook_size`.
        latent_positions (`"aligned"`, `"concatenated"`, `"learned"`): rotary positions of the latents: at the middle of
            the chunk of text each stands for, after the last token (the reference), or none and learned slots instead.
        latent_pooling (`"none"`, `"chunk"`): `chunk` also predicts each latent from the denoiser's last states of the
            tokens of its own chunk, concatenated; `latent_unpooling` in the other direction.
        latent_unpooling (`"none"`, `"chunk"`): `chunk` also adds to each token's embedding a learned map of the latent
            of its own chunk of text, one for every place in the chunk: the mirror of the encoder's `chunk` readout.
            Ours, not the paper's: attention need not learn first which latent belongs to which tokens.
        token_time_conditioning, latent_time_conditioning (`bool`): whether the network is told t_x, t_y. Not for
            tokens and codes (the number of masks tells), but for continuous latents, if not given.
        latent_head_layers, latent_head_hidden_size (`int`): a residual MLP of so many layers of that width before the
            latents' output; 0 layers for a linear head.
        separate_latent_denoiser (`bool`): a second network that denoises continuous latents with no tokens in it, for
            sequential inference; `latent_denoiser_num_layers` deep, 0 for as many as the first.
        token_noise_schedule, latent_noise_schedule (`str` or `dict`): see `noise_schedules`; linear for tokens, `sqrt`
            for continuous latents and `polynomial` of degree 2 for codes, if not given.
        latent_prediction_type (`"sample"`, `"epsilon"`): what the network predicts of continuous latents.
        encoder_num_hidden_layers, encoder_hidden_size, encoder_num_attention_heads (`int`): sizes of the encoder; 0 for
            the denoiser's. Of a pretrained one `encoder_hidden_size` alone, 0 for what it has.
        encoder_readout (`"last"`, `"chunk"`, `"chunk_mlp"`): latents are read at the last M positions (the reference),
            or each from the hidden states of its own chunk of text, concatenated, by a linear map or an MLP.
        latent_normalization (`"none"`, `"l2"`, `"unit"`): `l2` scales each latent to length sqrt(D), so to unit mean
            square; `unit` to length 1 (the reference).
        encoder_variance (`"none"`, `"fixed"`, `"learned"`): whether continuous latents are drawn around the encoder's
            output, with standard deviation `encoder_std` or a learned one.
        encoder_name_or_path (`str`, *optional*): a pretrained encoder, whatever `AutoModel` loads, from the Hub or a
            folder; a transformer of our own, trained with the rest, if not given. See [`PretrainedEncoder`].
        encoder_revision (`str`, *optional*): branch, tag or commit of it; where it comes from the Hub, the commit it is
            first loaded at.
        encoder_pooling (`str`): its states to M vectors, a name in `poolings.POOLINGS`: `last_layer`
            (M = `max_position_embeddings`), `last_token` and `mean` (M = 1), `adaptive_chunk_mean`, or
            `adaptive_chunk_mean_eos` (M of at least 2).
        encoder_projection (`"cut"`, `"learned"`): the pooled vectors to size D: their first D dimensions, or a linear
            map that is trained.
        encoder_tokenizer (`"shared"`, `"own"`): it reads the model's token ids, or the text they stand for in tokens of
            its own, aligned by characters.
        encoder_mask_token_id (`int`, *optional*): what it reads, with a shared tokenizer, where a token is hidden; its
            mask, unknown, padding or final token, the first that it has, if not given.
        encoder_trained (`bool`): it is trained and saved with the model; else it is fixed, no part of the model, and
            loaded where a text is to be encoded.
        encoder_config (`dict`, *optional*): its configuration, kept by a model that trains it.
        latent_standardization (`bool`): its pooled vectors are shifted and scaled to mean 0 and variance 1 in each
            dimension, by statistics that `gather_latent_statistics` takes once.
        quantizer (`"vector"`, `"finite_scalar"`, `"gumbel"`): a learned codebook, finite scalar quantisation with
            `fsq_levels` (their product is `codebook_size`), or a Gumbel-softmax choice of codes.
        codebook_decay, codebook_kmeans_init, codebook_dead_code_threshold, commitment_weight: of the learned codebook.
        gumbel_temperature (`float`): of the Gumbel-softmax choice.
        reference_layout (`bool`): the networks exactly as in the authors' research code, for weights that come from
            there: times enter their sinusoids as they are, not times 1000; what blocks of two streams are modulated by
            passes a second SiLU; time modulates the latents' output after its norm, not before; and learned constants
            modulate the encoder's blocks.
        text_frame (`dict`, *optional*): how the texts of the training stand in its examples, as plain data of a
            [`TextFrame`]: the ids that begin and end them, and what fills them up. A [`LaddTrainer`] takes it from the
            blocks of `token_blocks`, and `text_layout(blocks)` gives it.
        text_lengths (`dict`, *optional*): how many texts of the training had each number of tokens (as a string), where
            lengths differ: generated texts have their lengths drawn from it. From the same places.

        format_version (`int`): of this configuration; raised where a setting comes to mean something else.

    Raises `ValueError` with one sentence for settings that contradict each other, for the name of a setting that is
    misspelt, for a configuration of another kind of model, and for one of a newer format.
    """

    model_type = "ladd"
    keys_to_ignore_at_inference = ["latent_prediction", "loss_parts", "statistics", "hidden_states", "attentions"]

    vocab_size: int = 50258
    mask_token_id: int | None = None
    pad_token_id: int | None = None
    bos_token_id: int | None = None
    eos_token_id: int | list[int] | None = None
    tokenizer_size: int | None = None
    hidden_size: int = 768
    num_hidden_layers: int = 12
    num_attention_heads: int = 12
    cond_hidden_size: int = 128
    mlp_ratio: int = 4
    max_position_embeddings: int = 1024
    attention_dropout: float | int = 0.0
    layer_norm_eps: float = 1e-5
    initializer_range: float | None = None
    rope_parameters: dict[str, Any] | None = None
    tie_word_embeddings: bool = False

    latent_type: Literal["none", "continuous", "discrete"] = "none"
    latent_length: int = 0
    latent_dim: int = 0
    codebook_size: int = 0
    latent_positions: Literal["aligned", "concatenated", "learned"] = "aligned"
    latent_pooling: Literal["none", "chunk"] = "none"
    latent_unpooling: Literal["none", "chunk"] = "none"
    token_time_conditioning: bool = False
    latent_time_conditioning: bool | None = None
    latent_head_layers: int = 0
    latent_head_hidden_size: int = 2048
    separate_latent_denoiser: bool = False
    latent_denoiser_num_layers: int = 0

    token_noise_schedule: str | dict[str, Any] = "linear"
    latent_noise_schedule: str | dict[str, Any] | None = None
    latent_prediction_type: Literal["sample", "epsilon"] = "sample"

    encoder_num_hidden_layers: int = 0
    encoder_hidden_size: int = 0
    encoder_num_attention_heads: int = 0
    encoder_readout: Literal["last", "chunk", "chunk_mlp"] = "last"
    latent_normalization: Literal["none", "l2", "unit"] = "none"
    encoder_variance: Literal["none", "fixed", "learned"] = "none"
    encoder_std: float | int = 0.1

    encoder_name_or_path: str | None = None
    encoder_revision: str | None = None
    encoder_config: dict[str, Any] | None = None
    encoder_pooling: str = "adaptive_chunk_mean"
    encoder_projection: Literal["cut", "learned"] = "cut"
    encoder_tokenizer: Literal["shared", "own"] = "shared"
    encoder_mask_token_id: int | None = None
    encoder_trained: bool = False
    latent_standardization: bool = False

    quantizer: Literal["vector", "finite_scalar", "gumbel"] = "vector"
    fsq_levels: list[int] | None = None
    codebook_decay: float = 0.95
    codebook_kmeans_init: bool = True
    codebook_dead_code_threshold: int = 2
    commitment_weight: float | int = 0.1
    gumbel_temperature: float | int = 1.0

    reference_layout: bool = False

    text_frame: dict[str, Any] | None = None
    text_lengths: dict[str, int] | None = None

    format_version: int = FORMAT_VERSION

    def __post_init__(self, **kwargs: Any) -> None:
        self._validate_names(kwargs)
        self._validate_numbers()
        if self.mask_token_id is None:
            self.mask_token_id = self.vocab_size - 1
        if self.latent_time_conditioning is None:
            self.latent_time_conditioning = self.latent_type == "continuous"
        if self.latent_noise_schedule is None and self.latent_type != "none":
            self.latent_noise_schedule = "sqrt" if self.latent_type == "continuous" else "polynomial"
        if self.fsq_levels is not None and self.quantizer == "finite_scalar" and self.codebook_size == 0:
            self.codebook_size = math.prod(self.fsq_levels)
        if self.encoder_name_or_path is None:
            self.encoder_num_hidden_layers = self.encoder_num_hidden_layers or self.num_hidden_layers
            self.encoder_hidden_size = self.encoder_hidden_size or self.hidden_size
            self.encoder_num_attention_heads = self.encoder_num_attention_heads or self.num_attention_heads
        self.latent_denoiser_num_layers = self.latent_denoiser_num_layers or self.num_hidden_layers
        if self.initializer_range is None:
            self.initializer_range = self.hidden_size**-0.5
        if self.rope_parameters is None:
            self.rope_parameters = {"rope_type": "default", "rope_theta": 10000.0}
        self.validate_architecture()  # here as well, where its ValueError reaches the user as it is
        super().__post_init__(**kwargs)

    @classmethod
    def from_size(cls, size: str, **kwargs: Any) -> "LaddConfig":
        """A configuration of one of the paper's sizes, `XXS`, `XS`, `S`, `B`, `L` or `XL`; `kwargs` set the rest.

        Raises `ValueError` for any other size.
        """
        if size not in MODEL_SIZES:
            raise ValueError(
                f"Size {size!r} is unknown; give one of {', '.join(MODEL_SIZES)}, or the sizes themselves."
            )
        names = ("hidden_size", "num_hidden_layers", "num_attention_heads", "cond_hidden_size")
        return cls(**{**dict(zip(names, MODEL_SIZES[size], strict=True)), **kwargs})

    @property
    def latent_mask_code(self) -> int:
        """Id of the mask code of discrete latents."""
        return self.codebook_size

    def validate_architecture(self) -> None:
        """Part of the `@strict` validation: raises `ValueError` where settings contradict each other."""
        self._validate_numbers()
        self._validate_tokens()
        self._validate_texts()
        networks = [(self.hidden_size, self.num_attention_heads, "")]
        if self.encoder_name_or_path is None:
            networks.append((self.encoder_hidden_size, self.encoder_num_attention_heads, "encoder_"))
        for size, heads, name in networks:
            if heads < 1 or size % heads or (size // heads) % 2:
                raise ValueError(
                    f"`{name}hidden_size` {size} over `{name}num_attention_heads` {heads} does not give heads of an "
                    "even size, which rotary positions need: choose a multiple of twice the number of heads."
                )
        mask_schedule(self.token_noise_schedule)
        rope = self.rope_parameters or {}
        if rope.get("rope_type", "default") != "default" or rope.get("rope_theta", 1) not in AT_LEAST_ONE:
            raise ValueError(
                f"`rope_parameters` are {rope}; this model has plain rotary positions: give "
                '{"rope_type": "default", "rope_theta": a number of at least 1}.'
            )
        if self.latent_type == "none":
            self._validate_no_latents()
            return
        self._validate_latents()
        if self.encoder_name_or_path is None:
            self._validate_own_encoder()
        else:
            self._validate_pretrained_encoder()

    @classmethod
    def from_dict(cls, config_dict: dict[str, Any], **kwargs: Any) -> Any:
        """As of any configuration; raises `ValueError` for one of another kind of model."""
        kind = config_dict.get("model_type", cls.model_type)
        if kind != cls.model_type:
            raise ValueError(
                f"The configuration is of a model of type {kind!r}, which is not {cls.model_type!r}: load it with the "
                "library it was made with, or through transformers' Auto classes."
            )
        return super().from_dict(config_dict, **kwargs)

    def _validate_names(self, others: dict[str, Any]) -> None:
        """Refuses what a newer version wrote, and names that are nearly a setting's: transformers keeps any name."""
        if self.format_version > FORMAT_VERSION:
            raise ValueError(
                f"The configuration has `format_version` {self.format_version}, of a newer ladd_hf; this one reads up "
                f"to {FORMAT_VERSION}: upgrade with `pip install --upgrade ladd_hf`."
            )
        if "model_type" in others:  # read from a file, which other tools may have added to
            return
        known = [field.name for field in fields(LaddConfig)]
        for name in others:
            if name not in known and (meant := get_close_matches(name, known, n=1, cutoff=0.85)):
                raise ValueError(f"There is no setting `{name}`; did you mean `{meant[0]}`?")

    def _validate_numbers(self) -> None:
        """Raises `ValueError` for numbers outside of their range, in words for each."""
        ranges = {name: allowed for name, allowed in NUMBER_RANGES.items() if allowed is not _TOKEN_ID}
        check_ranges(self, ranges, optional=ranges)  # what is required is told by its type

    def _validate_tokens(self) -> None:
        if self.mask_token_id is None or not 0 <= self.mask_token_id < self.vocab_size:
            raise ValueError(
                f"`mask_token_id` {self.mask_token_id} lies outside the vocabulary: `vocab_size` counts the mask "
                f"token, so give an id from 0 to {self.vocab_size - 1}, or a larger `vocab_size`."
            )
        if self.pad_token_id == self.mask_token_id:
            raise ValueError(
                f"`pad_token_id` and `mask_token_id` are both {self.mask_token_id}: padding would be denoised as if it "
                "were noise, so give the mask token an id of its own."
            )
        if self.pad_token_id is not None and not 0 <= self.pad_token_id < self.vocab_size:
            raise ValueError(
                f"`pad_token_id` {self.pad_token_id} lies outside the vocabulary: give an id from 0 to "
                f"{self.vocab_size - 1}, or none."
            )
        for role in ("bos_token_id", "eos_token_id"):
            self._validate_end(role)
        if self.tokenizer_size is not None and self.tokenizer_size > self.vocab_size:
            raise ValueError(
                f"`tokenizer_size` {self.tokenizer_size} is more than `vocab_size` {self.vocab_size}: the model has to "
                "have all of the tokenizer's tokens, so give a larger vocabulary, or none."
            )

    def _validate_end(self, role: str) -> None:
        for one in ids_of(self, role):
            if one == self.mask_token_id:
                raise ValueError(
                    f"`{role}` and `mask_token_id` are both {one}: what begins or ends texts would stand for noise, so "
                    "give the mask token an id of its own, such as a further one of a larger `vocab_size`."
                )
            if not 0 <= one < self.vocab_size:
                raise ValueError(
                    f"`{role}` {one} lies outside the vocabulary: give an id from 0 to {self.vocab_size - 1}, or none."
                )

    def _validate_texts(self) -> None:
        frame, longest = TextFrame.of(self), self.max_position_embeddings
        if not all(one < self.vocab_size and one != self.mask_token_id for one in frame.ids):
            raise ValueError(
                f"`text_frame` writes the ids {sorted(frame.ids)}; give tokens of the vocabulary of {self.vocab_size}, "
                f"and not the mask token, {self.mask_token_id}."
            )
        if (frame.length or 0) > longest:
            raise ValueError(
                f"`text_frame` has texts of {frame.length} tokens, and `max_position_embeddings` is {longest}: give as "
                "many positions, or shorter blocks."
            )
        if self.text_lengths is not None:
            check_lengths(self.text_lengths, longest)

    def _changed(self, names: tuple[str, ...]) -> list[str]:
        return [name for name in names if getattr(self, name) != getattr(LaddConfig, name)]

    def _refuse(self, kind: str, names: tuple[str, ...], instead: str) -> None:
        """Raises `ValueError` where settings that are for another type of latents have been changed."""
        if given := self._changed(names):
            raise ValueError(
                f"`latent_type` is {kind!r}, but {', '.join(given)} is set: leave it out, or choose the latent type "
                f"{instead}."
            )

    def _validate_no_latents(self) -> None:
        shared = (
            "latent_length",
            "latent_dim",
            "latent_noise_schedule",
            "latent_head_layers",
            "latent_normalization",
            "latent_pooling",
            "latent_unpooling",
        )
        of_encoder = ("encoder_name_or_path", *_OF_PRETRAINED)
        others = (*shared, *_OF_CONTINUOUS, *_OF_CODES, *of_encoder, "reference_layout")
        self._refuse("none", others, "'continuous' or 'discrete'")

    def _validate_own_encoder(self) -> None:
        if given := self._changed(_OF_PRETRAINED):
            raise ValueError(
                f"{', '.join(given)} is set, which is for a pretrained encoder: name one in `encoder_name_or_path`, or "
                "leave it out."
            )

    def _validate_pretrained_encoder(self) -> None:
        name, hidden = self.encoder_name_or_path, self.encoder_hidden_size
        if given := self._changed(_OF_OWN_ENCODER):
            raise ValueError(
                f"{', '.join(given)} is set, but `encoder_name_or_path` {name!r} brings its own: leave it out."
            )
        if self.encoder_variance == "learned":
            raise ValueError(
                f"`encoder_variance` is 'learned', which the pretrained encoder {name!r} can not be taught: give "
                "'none' or 'fixed'."
            )
        if self.encoder_pooling not in POOLINGS:
            raise ValueError(
                f"`encoder_pooling` {self.encoder_pooling!r} is unknown; give one of {', '.join(POOLINGS)}."
            )
        POOLINGS[self.encoder_pooling].check(self.encoder_pooling, self.latent_length, self.max_position_embeddings)
        if self.encoder_config is not None and not self.encoder_trained:
            raise ValueError(
                "`encoder_config` is kept by a model that trains its encoder: leave it out, or set `encoder_trained`."
            )
        if self.encoder_projection == "cut" and 0 < hidden < self.latent_dim:
            raise ValueError(
                f"The encoder {name!r} has states of size {hidden}, from which `latent_dim` {self.latent_dim} can not "
                "be cut: give a size of at most that, or `encoder_projection` 'learned'."
            )

    def _validate_latents(self) -> None:
        kind = self.latent_type
        if not 0 < self.latent_length <= self.max_position_embeddings or self.latent_dim < 1:
            raise ValueError(
                f"`latent_type` {kind!r} with `latent_length` {self.latent_length} and `latent_dim` "
                f"{self.latent_dim}: give a length from 1 to `max_position_embeddings` "
                f"({self.max_position_embeddings}) and a size of at least 1."
            )
        if self.latent_pooling != "none" and self.separate_latent_denoiser:
            raise ValueError(
                f"`latent_pooling` is {self.latent_pooling!r}, but with `separate_latent_denoiser` latents are "
                "predicted without tokens: leave one of them out."
            )
        if kind == "continuous":
            self._refuse(kind, _OF_CODES, "'discrete'")
            if self.encoder_variance == "fixed" and self.encoder_std not in POSITIVE:
                raise ValueError(f"`encoder_std` is {self.encoder_std}; give a standard deviation above 0.")
            gaussian_schedule(self.latent_noise_schedule or "")
            return
        self._refuse(kind, _OF_CONTINUOUS, "'continuous'")
        if self.codebook_size < 2:
            raise ValueError(
                f"`latent_type` is 'discrete' with `codebook_size` {self.codebook_size}: give at least 2 codes, the "
                "mask code not counted."
            )
        levels = self.fsq_levels or [0]
        fits = min(levels) > 2 and math.prod(levels) == self.codebook_size
        if self.quantizer == "finite_scalar" and not fits:
            raise ValueError(
                f"Finite scalar quantisation got `fsq_levels` {self.fsq_levels} and `codebook_size` "
                f"{self.codebook_size}: give levels of at least 3 each whose product is the codebook size, such as "
                "[8, 8] for 64."
            )
        if self.quantizer != "finite_scalar" and self.fsq_levels is not None:
            raise ValueError(
                f"`fsq_levels` {self.fsq_levels} are for the quantizer 'finite_scalar', not {self.quantizer!r}: leave "
                "them out or change the quantizer."
            )
        mask_schedule(self.latent_noise_schedule or "")


__all__ = ["MODEL_SIZES", "LaddConfig"]
