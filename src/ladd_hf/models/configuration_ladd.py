"""Configuration of LADD models: everything that shapes weights or defines the two noise processes."""

from dataclasses import fields
from difflib import get_close_matches
from typing import Any, Literal

from huggingface_hub.dataclasses import strict
from transformers import PreTrainedConfig

from ..diffusion.latent_predictions import LATENT_PREDICTIONS, AnchorPrediction, LatentPrediction
from ..diffusion.latents_alone import When
from ..diffusion.noise_schedules import gaussian_schedule, mask_schedule
from ..utils.number_ranges import (
    AT_LEAST_ONE,
    COUNT,
    COUNT_OR_ZERO,
    POSITIVE,
    SHARE_BELOW_ONE,
    NumberRange,
    check_ranges,
    whole,
)
from .encoders.encoder_options import ENCODERS, EncoderOptions, check_heads, pooling_of
from .latent_options import LATENT_DENOISERS, LATENT_HEADS, LinearHead, MlpHead, SeparateDenoiser
from .quantizers.quantizer_options import QUANTIZERS
from .recommended_settings import SIZES, latent_settings, vocabulary_of
from .renamed_settings import refuse_old_name, with_current_names
from .text_frame import TextFrame
from .text_lengths import check_lengths
from .vocabulary import WRITTEN_ROLES, ids_of

# hidden size, layers, attention heads, size of the time conditioning. Paper, section 5.
MODEL_SIZES: dict[str, tuple[int, int, int, int]] = {
    "XXS": (32, 4, 2, 16),
    "XS": (64, 4, 4, 32),
    "S": (384, 12, 6, 128),
    "B": (768, 12, 12, 128),
    "L": (1024, 24, 16, 256),
    "XL": (1152, 28, 16, 256),
}

FORMAT_VERSION = 2

# Settings for only one type of latents, and for latents of any type.
_OF_CONTINUOUS = ("latent_prediction_type", "latent_unpooling_time", "latent_self_conditioning")
_OF_CODES = ("codebook_size", "quantizer")
_OF_LATENTS = (
    *("latent_length", "latent_dim", "latent_noise_schedule", "latent_head", "latent_denoiser"),
    *("latent_normalization", "latent_pooling", "latent_unpooling", "encoder", "reference_layout"),
    *_OF_CONTINUOUS,
    *_OF_CODES,
)

_TOKEN_ID = whole(0, "an id of the vocabulary, from 0 to `vocab_size` - 1")
# Ranges of the numeric settings; other ids are checked against the size of the vocabulary.
NUMBER_RANGES: dict[str, NumberRange] = {
    "vocab_size": whole(2, "a number of tokens of at least 2, the mask token counted"),
    "tokenizer_size": COUNT,
    **dict.fromkeys(("mask_token_id", "pad_token_id", "bos_token_id", "eos_token_id"), _TOKEN_ID),
    **dict.fromkeys(("hidden_size", "num_hidden_layers", "num_attention_heads", "cond_hidden_size"), COUNT),
    **dict.fromkeys(("mlp_ratio", "max_position_embeddings", "format_version"), COUNT),
    "attention_dropout": SHARE_BELOW_ONE,
    "layer_norm_eps": POSITIVE,
    "initializer_range": POSITIVE,
    **dict.fromkeys(("latent_length", "latent_dim", "codebook_size"), COUNT_OR_ZERO),
}


@strict
class LaddConfig(PreTrainedConfig):
    r"""Configuration of [`LaddModel`] and [`LaddForDiffusionLM`]. Paper, sections 2 to 5.

    The defaults are the paper's, which take long runs: of those for latents docs/ablations.md shows that they learn
    nothing in 400 steps. For a model that is to be trained start from [`LaddConfig.recommended`].

    Args:
        vocab_size (`int`, defaults to 50258): size of the vocabulary, including the mask token.
        mask_token_id (`int`, *optional*): id of the mask token; by default the last id of the vocabulary.
        pad_token_id (`int`, *optional*): id of the padding token, which must differ from the mask token. It is never
            generated and has no probability, unless it also begins or ends texts.
        bos_token_id (`int`, *optional*), eos_token_id (`int` or a list, *optional*): ids that begin and end texts;
            they must differ from the mask token.
        tokenizer_size (`int`, *optional*): number of the tokenizer's ids, if the vocabulary is larger: further ids have
            no token, are never generated and have no probability. Trainer and pipeline set it from their tokenizer,
            `resize_token_embeddings` when it fills up a vocabulary.
        hidden_size, num_hidden_layers, num_attention_heads, cond_hidden_size (`int`):
            sizes of both streams and of the time conditioning; see [`LaddConfig.from_size`] for those of the paper.
        mlp_ratio (`int`, defaults to 4): width of the MLPs in units of `hidden_size`.
        attention_dropout (`float`, defaults to 0): dropout of attention weights in training.
        layer_norm_eps (`float`, defaults to 1e-5): epsilon added to the variance in every norm.
        initializer_range (`float`, *optional*): standard deviation of initial weights; by default hidden_size^(-1/2),
            so that linear maps of states keep unit variance at any width.
        rope_parameters (`dict`, *optional*): `rope_theta`, the base of the rotary frequencies (by default 10,000); the
            `rope_type` is `default`.
        tie_word_embeddings (`bool`, defaults to `False`): share token embeddings and vocabulary projection.
        max_position_embeddings (`int`, defaults to 1024): longest token sequence, and the length generated by default.
        latent_type (`"none"`, `"continuous"`, `"discrete"`): no latents (this is MDLM), Co-LADD or Di-LADD.
        latent_length (`int`): number M of latents.
        latent_dim (`int`): size D of a latent, or of a codebook vector.
        codebook_size (`int`): number K of codes, without the mask code, whose id is `codebook_size`.
        latent_positions (`"aligned"`, `"concatenated"`, `"learned"`): rotary positions of the latents: at the middle of
            each latent's chunk of text, after the last token (the reference), or none, with learned slots instead.
        latent_pooling (`"none"`, `"chunk"`): `chunk` also predicts each latent from the denoiser's last states of the
            tokens of its own chunk, concatenated; the reverse of `latent_unpooling`.
        latent_unpooling (`"none"`, `"chunk"`): `chunk` also adds to each token's embedding a learned map of the latent
            of its own chunk of text, a separate one for each position in the chunk: the reverse of the encoder's
            `chunk` readout. Ours, not the paper's: attention need not learn which latent belongs to which tokens.
        latent_unpooling_time (`"none"`, `"signal"`, `"modulation"`): what unpooled continuous latents are told of their
            noise: nothing; `signal`, the map is scaled by a(t_y), so that pure noise adds next to nothing to the
            embeddings; `modulation`, the latents are shifted and scaled by learned vectors of t_y, which start at zero.
        token_time_conditioning, latent_time_conditioning (`bool`): condition the network on t_x, t_y. By default false
            for tokens and codes, whose number of masks is informative, and true for continuous latents.
        latent_head (`str` or `dict`): output layer of the latents: `linear`, or `mlp`, which adds a residual MLP of
            `layers` and `hidden_size` before it.
        latent_denoiser (`str` or `dict`): `shared`, one network for tokens and latents, or `separate`, a second network
            without tokens and with `num_layers` layers, for sequential inference. With `skips_masked_tokens` the shared
            network evaluates its latents alone while all tokens of a text are masked (t_x = 1), at the cost of the
            latents (ours, not the paper's); a model is to be trained with it.
        token_noise_schedule, latent_noise_schedule (`str` or `dict`): see `noise_schedules`; by default linear for
            tokens, `sqrt` for continuous latents and `polynomial` of degree 2 for codes.
        latent_prediction_type (`str` or `dict`): prediction target of the network for continuous latents: `sample`,
            `epsilon`, `v`, `preconditioned` (EDM's, for latents of `data_std`, see [`PreconditionedPrediction`]), or
            `anchors`, the probabilities of `count` anchors, see [`AnchorPrediction`].
        latent_self_conditioning (`bool`): the last predicted y_0 of continuous latents (of anchors, its mean) is a
            further input of the latents. Ours: half of the training examples have it, from one more evaluation without
            gradient, and the others zeros; samplers keep it from step to step; bounds are of evaluations without it.
        encoder (`str` or `dict`): `trained`, a transformer of our own ([`TrainedOptions`]: sizes, `readout`,
            `variance`), or `pretrained` ([`PretrainedOptions`]: `name_or_path`, `pooling`, `projection` and others).
        latent_normalization (`"none"`, `"l2"`, `"unit"`): `l2` scales each latent to length sqrt(D) (unit mean square),
            `unit` to length 1 (the reference).
        quantizer (`str` or `dict`): quantiser of discrete latents: `vector`, a learned codebook ([`VectorOptions`]),
            `finite_scalar` with its `levels`, whose product is `codebook_size`, `gumbel` with its `temperature`, or one
            registered with `register_quantizer`.
        reference_layout (`bool`): build the networks exactly as in the authors' research code, for converted weights:
            times enter their sinusoids unscaled, not times 1000; the modulation of blocks of two streams has a second
            SiLU; time modulates the latents' output after its norm, not before; and the encoder's blocks are modulated
            by learned constants.
        text_frame (`dict`, *optional*): frame of the texts in the training examples, as plain data of a [`TextFrame`]:
            the ids that begin, end and fill them up. [`LaddTrainer`] sets it from the blocks of `token_blocks`, and
            `text_layout(blocks)` returns it.
        text_lengths (`dict`, *optional*): number of training texts of each length in tokens (as a string), if lengths
            differ: the lengths of generated texts are drawn from it. Set in the same way as `text_frame`.

        format_version (`int`): format of this configuration; increased when the meaning of a setting changes.

    Choices with options (schedules, `encoder`, `quantizer`, `latent_head`, `latent_denoiser`) are given by name, or by
    a mapping of `name` and options, such as `{"name": "vector", "decay": 0.9}`.

    Raises `ValueError` for settings that contradict each other, for a misspelt setting, for a configuration of another
    kind of model, and for a newer format.
    """

    model_type = "ladd"
    keys_to_ignore_at_inference = [
        *(
            "latent_prediction",
            "latent_anchors",
            "loss_parts",
            "statistics",
            "time_moments",
            "hidden_states",
            "attentions",
        ),
    ]

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
    latent_unpooling_time: Literal["none", "signal", "modulation"] = "none"
    token_time_conditioning: bool = False
    latent_time_conditioning: bool | None = None
    latent_head: str | dict[str, Any] = "linear"
    latent_denoiser: str | dict[str, Any] = "shared"

    token_noise_schedule: str | dict[str, Any] = "linear"
    latent_noise_schedule: str | dict[str, Any] | None = None
    latent_prediction_type: str | dict[str, Any] = "sample"
    latent_self_conditioning: bool = False

    encoder: str | dict[str, Any] = "trained"
    quantizer: str | dict[str, Any] = "vector"
    latent_normalization: Literal["none", "l2", "unit"] = "none"

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
        if self.latent_type == "discrete" and self.codebook_size == 0:
            self.codebook_size = QUANTIZERS.build(self.quantizer).num_codes or 0
        if self.initializer_range is None:
            self.initializer_range = self.hidden_size**-0.5
        if self.rope_parameters is None:
            self.rope_parameters = {"rope_type": "default", "rope_theta": 10000.0}
        for role in kwargs.keys() & set(WRITTEN_ROLES):
            setattr(self, role, kwargs[role])  # no field of its own, checked with those that are
        self.validate_architecture()  # also called here, where its ValueError is not wrapped
        super().__post_init__(**kwargs)

    @classmethod
    def from_size(cls, size: str, **kwargs: Any) -> "LaddConfig":
        """Returns a configuration of one of the paper's sizes, `XXS`, `XS`, `S`, `B`, `L` or `XL`; `kwargs` set the
        rest.

        Raises `ValueError` for any other size.
        """
        if size not in MODEL_SIZES:
            raise ValueError(
                f"Size {size!r} is unknown; give one of {', '.join(MODEL_SIZES)}, or the sizes themselves."
            )
        names = ("hidden_size", "num_hidden_layers", "num_attention_heads", "cond_hidden_size")
        return cls(**{**dict(zip(names, MODEL_SIZES[size], strict=True)), **kwargs})

    @classmethod
    def recommended(
        cls,
        tokenizer: Any,
        latent_type: str,
        length: int,
        num_tokens: int | None = None,
        size: str | None = None,
        **kwargs: Any,
    ) -> "LaddConfig":
        """Returns a configuration with which latents were seen to learn in short runs; see docs/ablations.md.

        Latents are tied to the tokens of their chunks, in the encoder and in the denoiser, each of 4 characters, or 2
        tokens of a larger vocabulary; the encoder has one layer; codes come from a learned codebook, and continuous
        latents are drawn from anchors. [`Stage.recommended`] gives the stages of the training that go with it.

        Args:
            tokenizer: with a mask token (see `with_mask_token`); or a mapping of `vocab_size` and the ids of special
                tokens, such as the `vocabulary` of a task.
            latent_type: `none` (MDLM), `continuous` or `discrete`.
            length: tokens of the longest text, `max_position_embeddings`.
            num_tokens: tokens of the training texts, of which there are to be some 64 chunks for each code or anchor;
                `None`: enough for 4,096.
            size: one of the paper's (see [`LaddConfig.from_size`]); `None`: that of the ablations, for a CPU.
            kwargs: settings that replace those recommended.

        Raises `ValueError` for an argument out of its range, for a tokenizer without a mask token of its own, and as
        the class does.
        """
        COUNT.check("length", length)
        settings = {**vocabulary_of(tokenizer), "max_position_embeddings": length}
        settings |= latent_settings(latent_type, settings, length, num_tokens, kwargs)
        if size is None:
            return cls(**{**SIZES, **settings, **kwargs})
        return cls.from_size(size, **{**settings, **kwargs})

    @property
    def latent_mask_code(self) -> int:
        """Id of the mask code of discrete latents."""
        return self.codebook_size

    @property
    def encoder_options(self) -> EncoderOptions:
        """The options of `encoder`, with the denoiser's sizes by default."""
        options: EncoderOptions = ENCODERS.build(self.encoder)
        return options.for_denoiser(self.hidden_size, self.num_hidden_layers, self.num_attention_heads)

    @property
    def encoder_pooling(self) -> str | None:
        """The pooling of a pretrained encoder, `None` for a trained one; builds nothing, so that it can be compiled."""
        return pooling_of(self.encoder)

    @property
    def latent_prediction(self) -> LatentPrediction:
        """The options of `latent_prediction_type`."""
        options: LatentPrediction = LATENT_PREDICTIONS.build(self.latent_prediction_type)
        return options

    @property
    def latent_output_size(self) -> int:
        """Numbers that the network predicts of a latent: D, or K logits over codes or anchors."""
        if self.latent_type == "discrete":
            return self.codebook_size
        prediction = self.latent_prediction
        return prediction.count if isinstance(prediction, AnchorPrediction) else self.latent_dim

    @property
    def latent_head_options(self) -> LinearHead | MlpHead:
        """The options of `latent_head`."""
        options: LinearHead | MlpHead = LATENT_HEADS.build(self.latent_head)
        return options

    @property
    def separate_latent_denoiser(self) -> bool:
        """True if the latents have a separate denoiser."""
        return isinstance(LATENT_DENOISERS.build(self.latent_denoiser), SeparateDenoiser)

    @property
    def latents_alone(self) -> When:
        """When latents are predicted without tokens: `never`, `masked` (while all tokens are) or `always`."""
        denoiser = LATENT_DENOISERS.build(self.latent_denoiser)
        if isinstance(denoiser, SeparateDenoiser):
            return "always"
        return "masked" if denoiser.skips_masked_tokens else "never"

    @property
    def latent_denoiser_num_layers(self) -> int:
        """Number of layers of the separate latent denoiser."""
        return getattr(LATENT_DENOISERS.build(self.latent_denoiser), "num_layers", 0) or self.num_hidden_layers

    def validate_architecture(self) -> None:
        """Raises `ValueError` if settings contradict each other; a part of the `@strict` validation."""
        self._validate_numbers()
        self._validate_tokens()
        self._validate_texts()
        check_heads(self.hidden_size, self.num_attention_heads)
        mask_schedule(self.token_noise_schedule)
        rope = self.rope_parameters or {}
        if rope.get("rope_type", "default") != "default" or rope.get("rope_theta", 1) not in AT_LEAST_ONE:
            raise ValueError(
                f"`rope_parameters` are {rope}; this model has plain rotary positions: give "
                '{"rope_type": "default", "rope_theta": a number of at least 1}.'
            )
        if self.latent_type == "none":
            self._refuse("none", _OF_LATENTS, "'continuous' or 'discrete'")
        else:
            self._validate_latents()

    @classmethod
    def from_dict(cls, config_dict: dict[str, Any], **kwargs: Any) -> Any:
        """Extends `from_dict`: older names of settings are accepted, with a log message.

        Raises `ValueError` for one of another kind of model.
        """
        kind = config_dict.get("model_type", cls.model_type)
        if kind != cls.model_type:
            raise ValueError(
                f"The configuration is of a model of type {kind!r}, which is not {cls.model_type!r}: load it with the "
                "library it was made with, or through transformers' Auto classes."
            )
        return super().from_dict(with_current_names(config_dict), **kwargs)

    def _validate_names(self, others: dict[str, Any]) -> None:
        """Raises `ValueError` for newer formats, and for names similar to a setting's, since transformers accepts any
        name."""
        if self.format_version > FORMAT_VERSION:
            raise ValueError(
                f"The configuration has `format_version` {self.format_version}, of a newer ladd_hf; this one reads up "
                f"to {FORMAT_VERSION}: upgrade with `pip install --upgrade ladd_hf`."
            )
        if "model_type" in others:  # read from a file, to which other tools may have added fields
            return
        known = [field.name for field in fields(LaddConfig)]
        for name in others:
            refuse_old_name(name)
            if name not in known and (meant := get_close_matches(name, known, n=1, cutoff=0.85)):
                raise ValueError(f"There is no setting `{name}`; did you mean `{meant[0]}`?")

    def _validate_numbers(self) -> None:
        """Raises `ValueError` for numbers out of range."""
        ranges = {name: allowed for name, allowed in NUMBER_RANGES.items() if allowed is not _TOKEN_ID}
        check_ranges(self, ranges, optional=ranges)  # required settings are checked by their types

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
        for role in WRITTEN_ROLES:
            self._validate_written(role)
        if self.tokenizer_size is not None and self.tokenizer_size > self.vocab_size:
            raise ValueError(
                f"`tokenizer_size` {self.tokenizer_size} is more than `vocab_size` {self.vocab_size}: the model has to "
                "have all of the tokenizer's tokens, so give a larger vocabulary, or none."
            )

    def _validate_written(self, role: str) -> None:
        for one in ids_of(self, role):
            if one == self.mask_token_id:
                raise ValueError(
                    f"`{role}` and `mask_token_id` are both {one}: what tokenizers write into texts would stand for "
                    "noise, so give the mask token an id of its own, such as a further one of a larger `vocab_size`."
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

    def _refuse(self, kind: str, names: tuple[str, ...], instead: str) -> None:
        """Raises `ValueError` if settings for another type of latents have been changed."""
        if given := [name for name in names if getattr(self, name) != getattr(LaddConfig, name)]:
            raise ValueError(
                f"`latent_type` is {kind!r}, but {', '.join(given)} is set: leave it out, or choose the latent type "
                f"{instead}."
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
        self._validate_unpooling()
        encoder = self.encoder_options
        encoder.check(self.latent_length, self.latent_dim, self.max_position_embeddings)
        LATENT_HEADS.build(self.latent_head)
        LATENT_DENOISERS.build(self.latent_denoiser)
        if kind == "continuous":
            self._refuse(kind, _OF_CODES, "'discrete'")
            gaussian_schedule(self.latent_noise_schedule or "")
            prediction = LATENT_PREDICTIONS.build(self.latent_prediction_type)
            if self.latent_self_conditioning and not getattr(prediction, "snap", True):
                raise ValueError(
                    "`latent_self_conditioning` reads the mean of the anchors, beside which latents lie with `snap` "
                    "false: snap them, or leave it out."
                )
            return
        self._refuse(kind, _OF_CONTINUOUS, "'continuous'")
        if encoder.variance != "none":
            raise ValueError(
                f"`latent_type` is 'discrete', but `encoder.variance` is {encoder.variance!r}: leave it out, or choose "
                "the latent type 'continuous'."
            )
        self._validate_codes()

    def _validate_unpooling(self) -> None:
        told = self.latent_unpooling_time
        if told != "none" and self.latent_unpooling == "none":
            raise ValueError(
                f"`latent_unpooling_time` is {told!r}, but no latents are unpooled: set `latent_unpooling` 'chunk', or "
                "leave it out."
            )
        if told == "modulation" and not self.latent_time_conditioning:
            raise ValueError(
                "`latent_unpooling_time` is 'modulation', but the network is not conditioned on t_y: set "
                "`latent_time_conditioning`, or give 'signal'."
            )

    def _validate_codes(self) -> None:
        mask_schedule(self.latent_noise_schedule or "")
        num_codes = QUANTIZERS.build(self.quantizer).num_codes
        if num_codes not in (None, self.codebook_size):
            raise ValueError(
                f"`quantizer` is {self.quantizer}, which has {num_codes} codes, but `codebook_size` is "
                f"{self.codebook_size}: change the one or the other, or leave `codebook_size` out."
            )
        if self.codebook_size < 2:
            raise ValueError(
                f"`latent_type` is 'discrete' with `codebook_size` {self.codebook_size}: give at least 2 codes, the "
                "mask code not counted."
            )


__all__ = ["MODEL_SIZES", "LaddConfig"]
