"""The settings of the training objective. Paper, section 6."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import Any, Literal

from torch import Tensor

from ..utils.number_ranges import NOT_NEGATIVE, POSITIVE, SHARE, WEIGHT, NumberRange, check_ranges
from ..utils.registry import Registry
from ..utils.wrong_objects import described
from .paths import PathSpec
from .time_sampling import check_distribution

# Further terms of the loss: each maps `LossInputs` to its sum over the batch and the count that divides it.
LossTerm = Callable[[Any], tuple[Tensor, Tensor]]
LOSS_TERMS: Registry[LossTerm] = Registry("loss term")
# Names of the paper's terms, and of what logs hold beside them.
_TAKEN = (
    *("token_loss", "latent_loss", "commitment_loss", "latent_kl_loss", "contrastive_loss"),
    *("conditional_independence_loss", "consistency_loss", "meanflow_loss"),
    *("codes_in_batch", "loss", "grad_norm", "learning_rate", "epoch", "step"),
)

# Terms that need codes, vectors, or latents of any kind.
_OF_CODES = ("quantizer_dropout",)
_OF_VECTORS = ("latent_kl_weight", "latent_target_gradient", "meanflow_share")
_OF_RESTING = ("latent_noise_time", "latent_mask_share", "latent_replacement_share")  # without a loss of their own
_OF_LATENTS = (
    *_OF_CODES,
    *_OF_VECTORS,
    "latent_dropout",
    "encoder_corruption",
    "encoder_mask_ratio",
    "encoder_noise",
    *_OF_RESTING,
    "contrastive_weight",
    "conditional_independence_weight",
    "consistency_clean_latents",
)
_SHARES = (
    *("fully_masked_share", "latent_dropout", "quantizer_dropout", "encoder_corruption", "encoder_mask_ratio"),
    *_OF_RESTING,
)
_WEIGHTS = (
    *("token_loss_weight", "latent_loss_weight", "contrastive_weight", "conditional_independence_weight"),
    *("latent_kl_weight", "consistency_weight"),
)
_JUMPS = ("consistency_min_jump", "consistency_max_jump")
# Settings that are one of a few names.
_CHOICES = {
    **dict.fromkeys(("token_weighting", "latent_weighting"), ("plain", "elbo")),
    "consistency_teacher": ("average", "model"),
    "meanflow_teacher": ("average", "model", "data"),
}
# Ranges of the numeric settings.
OBJECTIVE_RANGES: dict[str, NumberRange] = {
    **dict.fromkeys((*_SHARES, *_JUMPS, "contrastive_mask_ratio"), SHARE),
    **dict.fromkeys(("meanflow_share", "meanflow_start_share", "meanflow_tangent"), SHARE),
    **dict.fromkeys(_WEIGHTS, WEIGHT),
    "encoder_noise": NOT_NEGATIVE,
    "min_time": NumberRange("a time from 0 to below 1, such as 1e-4", least=0, most=1, without_ends=("most",)),
    **dict.fromkeys(("time_shift", "contrastive_temperature", "meanflow_time_std", "meanflow_damping"), POSITIVE),
    "meanflow_time_mean": NumberRange("a number, such as -1"),
}


def register_loss_term(name: str, term: LossTerm | None = None) -> Any:
    """Adds a loss term, or decorates one. Raises `ValueError` for a name that is taken, in logs too."""
    if name in _TAKEN:
        raise ValueError(f"There is a loss term or a log {name!r} already: choose another name.")
    return LOSS_TERMS.register(name) if term is None else LOSS_TERMS.register(name, term)


@dataclass(frozen=True)
class TrainingObjective:
    """Settings of the training loss. A weight or share of 0 disables its term.

    Attributes:
        time_distribution: points (t_x, t_y) are drawn on the diagonal (`joint`: shared times), on the two sides
            (`sequential`), in the whole square (`independent`; as in the reference when one model serves both
            schedules), or with clean latents (`tokens`; the reference's stage 1). Several joined by `+`, such as
            `sequential+joint`, share the examples equally. Any other path is given by its corners, such as
            `[[1, 1], [1, 0.3], [0, 0]]`, or as a [`TimePath`].
        token_weighting, latent_weighting: `plain`, the average over the sequence; `elbo`, the bound's weight.
        token_loss_weight, latent_loss_weight: weights w_x and w_y.
        min_time: smallest time to draw.
        time_shift: a in t <- a t / (1 + (a - 1) t), applied to the latents' times, and to the tokens' if shared; in the
            paper sqrt(latent size / 4096); 1 does not change the times.
        adaptive_times: draw more times where the loss is large, by a running histogram of it along the path (of the
            latents' time, for `independent`), and weigh each draw so that the expected loss is the same.
        fully_masked_share: share of examples with all tokens masked (t_x = 1), so that only latents carry information.
        latent_dropout: share of examples with dropped latents (p_cfg); needed for classifier-free guidance.
        quantizer_dropout: share of examples whose visible codes enter the denoiser before quantisation, so that the
            encoder gets a useful gradient from the first step on, even if all its codes are still equal.
        encoder_corruption: each example draws p from U[0, this], and each token that is masked in x_t is hidden from
            the encoder with probability p (p_r; the reference uses 0.9).
        encoder_mask_ratio: share of tokens hidden from the encoder, masked in x_t or not.
        encoder_noise: standard deviation of Gaussian noise on the encoder's input features, in units of each one's root
            mean square: the embeddings of the tokens, or a pretrained encoder's states before a learned projection.
        latent_noise_time: in examples in which only tokens move, t_y is drawn evenly up to this, so that they are
            trained on noisy latents, and the encoder to resist noise; the network is conditioned on t_y.
        latent_mask_share: in the same examples, share of latents that are replaced by zeros, or codes by the mask code.
        latent_replacement_share: share of the same examples whose latents are all replaced by Gaussian noise, or the
            visible codes by uniformly drawn ones. The network is conditioned on neither replacement.
        contrastive_weight, contrastive_mask_ratio, contrastive_temperature: InfoNCE between two maskings of the
            encoder's input.
        conditional_independence_weight: weight of the KL from the prediction given (x_t, y_t) to that given y_t alone.
        consistency_weight: weight of the KL from a prediction further along a run, which the true text has led to, to
            that at x_t, at the tokens masked in both. In expectation its minimum is that of the cross-entropy.
        consistency_min_jump, consistency_max_jump: the further time is s = (1 - u) t with u drawn evenly between these:
            0 is x_t itself, 1 the clean text, at which no token is left to predict.
        consistency_teacher: `average`, the further prediction is that of the averaged weights (the present ones without
            EMA or a trainer), or `model`, that of the present ones. Neither gets a gradient, nor has dropout.
        consistency_clean_latents: the further prediction sees clean latents, instead of the same noisy ones.
        meanflow_share: share of the examples whose latents are to jump: from y_t straight to the end of the flow's way
            to a time r. Their loss of latents is that of MeanFlow, of weight `latent_loss_weight`; the others keep
            theirs. Without that weight there are no jumps.
        meanflow_time_mean, meanflow_time_std: of the logit-normal law from which t and r are drawn, the larger one t.
        meanflow_start_share: share of the jumps that begin where runs begin, with t above 0.98, and lead to any time,
            evenly.
        meanflow_damping: c in e / (1 + e / c), the loss of a mean squared error e of average velocities, in which the
            divisor has no gradient.
        meanflow_tangent: share of the derivative along the flow that counts. A ramp from 0 warms it up.
        meanflow_teacher: what the flow's velocity is taken from: `average`, the averaged weights (the present ones
            without EMA or a trainer), `model`, the present ones, or `data`, the example's own y_0.
        latent_kl_weight: weight of the KL from continuous latents to a standard normal.
        tokens_alone: leave out the latents, which trains the token stream as an MDLM.
        latent_target_gradient: let gradients flow through continuous latents as the target of L_y too, as in the bound.
            The encoder can then lower the loss by collapsing all its latents.
        extra_loss_terms: weights of terms added by `register_loss_term`, by name.
    """

    time_distribution: PathSpec = "independent"
    token_weighting: Literal["plain", "elbo"] = "plain"
    latent_weighting: Literal["plain", "elbo"] = "plain"
    token_loss_weight: float = 1.0
    latent_loss_weight: float = 1.0
    min_time: float = 1e-4
    time_shift: float = 1.0
    adaptive_times: bool = False
    fully_masked_share: float = 0.0
    latent_dropout: float = 0.0
    quantizer_dropout: float = 0.0
    encoder_corruption: float = 0.0
    encoder_mask_ratio: float = 0.0
    encoder_noise: float = 0.0
    latent_noise_time: float = 0.0
    latent_mask_share: float = 0.0
    latent_replacement_share: float = 0.0
    contrastive_weight: float = 0.0
    contrastive_mask_ratio: float = 0.3
    contrastive_temperature: float = 0.1
    conditional_independence_weight: float = 0.0
    consistency_weight: float = 0.0
    consistency_min_jump: float = 0.0
    consistency_max_jump: float = 1.0
    consistency_teacher: Literal["average", "model"] = "average"
    consistency_clean_latents: bool = False
    meanflow_share: float = 0.0
    meanflow_time_mean: float = -1.0
    meanflow_time_std: float = 2.0
    meanflow_start_share: float = 0.25
    meanflow_damping: float = 5.0
    meanflow_tangent: float = 1.0
    meanflow_teacher: Literal["average", "model", "data"] = "average"
    latent_kl_weight: float = 0.0
    latent_target_gradient: bool = False
    tokens_alone: bool = False
    extra_loss_terms: Mapping[str, float] | None = None

    def __post_init__(self) -> None:
        check_distribution(self.time_distribution)
        for name, accepted in _CHOICES.items():
            if getattr(self, name) not in accepted:
                listed = " or ".join(repr(one) for one in accepted)
                raise ValueError(f"`{name}` {getattr(self, name)!r} is unknown; give {listed}.")
        check_ranges(self, OBJECTIVE_RANGES)
        for one in fields(self):
            if isinstance(one.default, bool) and not isinstance(value := getattr(self, one.name), bool):
                raise ValueError(f"`{one.name}` is {described(value)}; give True or False.")
        if self.consistency_min_jump > self.consistency_max_jump:
            raise ValueError(
                f"`consistency_min_jump` is {self.consistency_min_jump:g} and `consistency_max_jump` "
                f"{self.consistency_max_jump:g}: give a least jump up to the largest."
            )
        if self.adaptive_times and self.encoder_corruption:
            raise ValueError(
                f"`adaptive_times` is set, and `encoder_corruption` is {self.encoder_corruption:g}, by which terms of "
                "the encoder depend on times without being weighted: set one of them, in a stage of its own if need be."
            )
        if self.adaptive_times and self.meanflow_share:
            raise ValueError(
                f"`adaptive_times` is set, and `meanflow_share` is {self.meanflow_share:g}, whose jumps have times of "
                "their own: set one of them, in a stage of its own if need be."
            )
        extra = self.extra_loss_terms
        if extra is not None and not isinstance(extra, Mapping):
            raise ValueError(f"`extra_loss_terms` is {described(extra)}; give a mapping of names to weights.")
        for name, weight in (extra or {}).items():
            LOSS_TERMS[name]  # which raises for an unknown one
            WEIGHT.check(f"extra_loss_terms[{name!r}]", weight)

    @property
    def asks_average(self) -> bool:
        """True if a term aims at predictions of the averaged weights."""
        consistency = bool(self.consistency_weight) and self.consistency_teacher == "average"
        return consistency or (self.has_jumps and self.meanflow_teacher == "average")

    @property
    def has_jumps(self) -> bool:
        """True if jumps of latents are drawn: some examples have them, and their loss has a weight."""
        return bool(self.meanflow_share and self.latent_loss_weight) and not self.tokens_alone

    @property
    def draws_masked_texts(self) -> bool:
        """True if some examples have all tokens masked (t_x = 1) where the loss of noisy latents is computed."""
        paths = check_distribution(self.time_distribution)
        moving = [leg for path in paths if path is not None for leg in path.legs if leg[0][1] > leg[1][1]]
        if self.fully_masked_share and (moving or None in paths):
            return True
        return any(start[0] == end[0] == 1 for start, end in moving)

    @property
    def rests_latents(self) -> bool:
        """True if in some examples tokens move and latents rest."""
        paths = [path for path in check_distribution(self.time_distribution) if path is not None]
        return any(start[0] > end[0] and start[1] == end[1] for path in paths for start, end in path.legs)

    def check_fits(self, latent_type: str) -> None:
        """Raises `ValueError` for terms that a model with this type of latents does not have, and for those of examples
        that there are none of."""
        missing = {"continuous": _OF_CODES, "discrete": _OF_VECTORS}.get(latent_type, _OF_LATENTS)
        if given := [name for name in missing if getattr(self, name)]:
            raise ValueError(
                f"`{given[0]}` is {getattr(self, given[0])}, which does nothing for a model whose `latent_type` is "
                f"{latent_type!r}: leave it at its default."
            )
        given = [name for name in _OF_RESTING if getattr(self, name)]
        if given and not self.rests_latents:
            raise ValueError(
                f"`{given[0]}` is {getattr(self, given[0])}, which is for examples in which only tokens move, and "
                f"`time_distribution` {self.time_distribution!r} has none: give 'tokens' or 'sequential', alone or "
                "joined to others by '+', as the stage 'encoder' does."
            )

    def check_precomputed(self) -> None:
        """Raises `ValueError` for terms that hide tokens from the encoder: precomputed latents do not allow them."""
        given = [
            name for name in ("encoder_corruption", "encoder_mask_ratio", "contrastive_weight") if getattr(self, name)
        ]
        if given:
            raise ValueError(
                f"`{given[0]}` is {getattr(self, given[0])}, which hides tokens from the encoder, but its latents were "
                "computed before: leave it at 0, or the precomputed latents out."
            )
