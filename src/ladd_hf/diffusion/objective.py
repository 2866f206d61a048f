"""The training objective: one draw of noise, one call of the denoiser, the terms of the loss. Paper, section 6."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

import torch
from torch import Tensor
from torch.nn import functional as F

from ..utils.number_ranges import POSITIVE, SHARE, WEIGHT, NumberRange, check_ranges
from .channels import EncodedLatents, LatentChannel, MaskedChannel
from .paths import PathSpec, TimePoints
from .precision import at_least_float32
from .rng import RowGenerator
from .step_counts import StepCounts
from .terms import latent_terms, token_weights
from .time_sampling import TrainingNoise, check_distribution, draw_times

# Terms that need codes, vectors, or latents of any kind.
_OF_CODES = ("quantizer_dropout",)
_OF_VECTORS = ("latent_kl_weight", "latent_target_gradient")
_OF_LATENTS = (
    *_OF_CODES,
    *_OF_VECTORS,
    "latent_dropout",
    "encoder_corruption",
    "encoder_mask_ratio",
    "contrastive_weight",
    "conditional_independence_weight",
)
_SHARES = ("fully_masked_share", "latent_dropout", "quantizer_dropout", "encoder_corruption", "encoder_mask_ratio")
_WEIGHTS = ("token_loss_weight", "latent_loss_weight", "contrastive_weight", "conditional_independence_weight")
# Ranges of the numeric settings.
OBJECTIVE_RANGES: dict[str, NumberRange] = {
    **dict.fromkeys((*_SHARES, "contrastive_mask_ratio"), SHARE),
    **dict.fromkeys((*_WEIGHTS, "latent_kl_weight"), WEIGHT),
    "min_time": NumberRange("a time from 0 to below 1, such as 1e-4", least=0, most=1, without_ends=("most",)),
    **dict.fromkeys(("time_shift", "contrastive_temperature"), POSITIVE),
}


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
        fully_masked_share: share of examples with all tokens masked (t_x = 1), so that only latents carry information.
        latent_dropout: share of examples with dropped latents (p_cfg); needed for classifier-free guidance.
        quantizer_dropout: share of examples whose visible codes enter the denoiser before quantisation, so that the
            encoder gets a useful gradient from the first step on, even if all its codes are still equal.
        encoder_corruption: each example draws p from U[0, this], and each token that is masked in x_t is hidden from
            the encoder with probability p (p_r; the reference uses 0.9).
        encoder_mask_ratio: share of tokens hidden from the encoder, masked in x_t or not.
        contrastive_weight, contrastive_mask_ratio, contrastive_temperature: InfoNCE between two maskings of the
            encoder's input.
        conditional_independence_weight: weight of the KL from the prediction given (x_t, y_t) to that given y_t alone.
        latent_kl_weight: weight of the KL from continuous latents to a standard normal.
        tokens_alone: leave out the latents, which trains the token stream as an MDLM.
        latent_target_gradient: let gradients flow through continuous latents as the target of L_y too, as in the bound.
            The encoder can then lower the loss by collapsing all its latents.
    """

    time_distribution: PathSpec = "independent"
    token_weighting: Literal["plain", "elbo"] = "plain"
    latent_weighting: Literal["plain", "elbo"] = "plain"
    token_loss_weight: float = 1.0
    latent_loss_weight: float = 1.0
    min_time: float = 1e-4
    time_shift: float = 1.0
    fully_masked_share: float = 0.0
    latent_dropout: float = 0.0
    quantizer_dropout: float = 0.0
    encoder_corruption: float = 0.0
    encoder_mask_ratio: float = 0.0
    contrastive_weight: float = 0.0
    contrastive_mask_ratio: float = 0.3
    contrastive_temperature: float = 0.1
    conditional_independence_weight: float = 0.0
    latent_kl_weight: float = 0.0
    latent_target_gradient: bool = False
    tokens_alone: bool = False

    def __post_init__(self) -> None:
        check_distribution(self.time_distribution)
        for name in ("token_weighting", "latent_weighting"):
            if getattr(self, name) not in ("plain", "elbo"):
                raise ValueError(f"`{name}` {getattr(self, name)!r} is unknown; give 'plain' or 'elbo'.")
        check_ranges(self, OBJECTIVE_RANGES)

    def check_fits(self, latent_type: str) -> None:
        """Raises `ValueError` for terms that a model with this type of latents does not have."""
        missing = {"continuous": _OF_CODES, "discrete": _OF_VECTORS}.get(latent_type, _OF_LATENTS)
        if given := [name for name in missing if getattr(self, name)]:
            raise ValueError(
                f"`{given[0]}` is {getattr(self, given[0])}, which does nothing for a model whose `latent_type` is "
                f"{latent_type!r}: leave it at its default."
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


class Encode(Protocol):
    """Function that returns the clean latents of tokens, computed by an encoder or precomputed."""

    def __call__(
        self,
        tokens: Tensor,
        attention_mask: Tensor | None = None,
        random: RowGenerator | None = None,
        update_codebook: bool = True,
    ) -> EncodedLatents:
        """Encodes `(B, S)` tokens; `update_codebook` allows a codebook to learn from them."""


class Denoiser(Protocol):
    """Interface of a model for the objective and the bound: its call, its two channels and its encoder."""

    token_channel: MaskedChannel
    latent_channel: LatentChannel | None

    def denoise(self, input_ids: Tensor | None, latents: Tensor | None = None, **kwargs: Any) -> Any:
        """Evaluates the denoiser: returns `.logits` `(n, V)` at `logits_mask` and `.latent_prediction`."""

    @property
    def encode(self) -> Encode:
        """The model's encoder."""


@dataclass
class LossParts:
    """The loss to differentiate, its unweighted terms, and statistics of the batch to log, all scalars.

    `evaluation` is the denoiser's output behind them, with token logits `(n, V)` at the positions where `masked`
    `(B, S)` is true.
    """

    total: Tensor
    evaluation: Any
    masked: Tensor
    parts: dict[str, Tensor] = field(default_factory=dict)
    statistics: dict[str, Tensor] = field(default_factory=dict)


@dataclass
class NoisyTokens:
    """Tokens of a batch at their drawn times: ids and masks `(B, S)`."""

    clean: Tensor
    maskable: Tensor
    attention_mask: Tensor | None
    noisy: Tensor
    masked: Tensor
    times: TimePoints


@dataclass
class NoisyLatents:
    """Latents of a batch at their times: encoded, noisy `(B, M)` or `(B, M, D)`, and the dropped examples `(B,)`."""

    encoded: EncodedLatents
    noisy: Tensor
    dropped: Tensor


def training_loss(
    denoiser: Denoiser,
    tokens: Tensor,
    maskable: Tensor,
    attention_mask: Tensor | None,
    objective: TrainingObjective,
    noise: TrainingNoise,
    encode: Encode | None = None,
    counts: StepCounts | None = None,
) -> LossParts:
    """Computes one draw of the training loss.

    Every term is a sum over the batch divided by its count over the whole optimiser step, so that the losses of
    accumulated batches add up to the loss of one large batch, however it is split. Only InfoNCE depends on the split:
    the negatives of an example come from its own batch.

    Args:
        denoiser: the model.
        tokens: `(B, S)` clean tokens.
        maskable: `(B, S)` bool, the tokens to noise and to score: no padding, no prompt.
        attention_mask: `(B, S)`, or `None` without padding.
        objective: the terms and their weights.
        noise: the source of the examples' random numbers.
        encode: replaces the denoiser's own `encode`, for example one that returns precomputed latents.
        counts: the counts of the optimiser step; those of this batch by default.
    """
    random, latents = noise.generator(), None
    channel = None if objective.tokens_alone else denoiser.latent_channel
    batch = _noise_tokens(denoiser.token_channel, tokens, maskable, attention_mask, objective, noise, random)
    dropped = noise.drops_latents(objective.latent_dropout)
    if counts is None:
        counts = StepCounts.of_batch(maskable, dropped)
    if channel is not None:
        latents = _noise_latents(denoiser, channel, batch, dropped, objective, random, encode)
    output = _denoise(denoiser, batch, latents, batch.noisy, batch.times.token_times)

    # Each term: its sum over the batch, its divisor and its weight
    token_loss = _token_loss(denoiser, output.logits, batch, objective)
    terms = {"token_loss": (token_loss, counts.tokens, objective.token_loss_weight)}
    statistics = {}
    if channel is not None and latents is not None:
        latent_loss = _latent_loss(channel, output.latent_prediction, latents, batch.times, objective)
        terms["latent_loss"] = (latent_loss, counts.examples_with_latents, objective.latent_loss_weight)
        if latents.encoded.codes is not None:
            terms["commitment_loss"] = (latents.encoded.commitment_loss * len(tokens), counts.examples, 1.0)
            statistics["codes_in_batch"] = _distinct(latents.encoded.codes)
        elif objective.latent_kl_weight:
            terms["latent_kl_loss"] = (latents.encoded.kl.sum(), counts.examples, objective.latent_kl_weight)
        if objective.contrastive_weight:
            contrastive_loss = _contrastive_loss(denoiser, batch, objective, random)
            terms["contrastive_loss"] = (contrastive_loss, counts.examples, objective.contrastive_weight)
        if objective.conditional_independence_weight:
            divergence = _conditional_independence_loss(denoiser, output.logits, batch, latents)
            weight = objective.conditional_independence_weight
            terms["conditional_independence_loss"] = (divergence, counts.tokens, weight)
    parts = {name: (total / count.to(total)) for name, (total, count, _) in terms.items()}
    # Terms of weight 0 are left out, so that parameters used by them alone get no gradient and no optimiser state.
    weights = {name: weight for name, (_, _, weight) in terms.items() if weight}
    loss = sum((weight * parts[name] for name, weight in weights.items()), start=torch.zeros_like(token_loss))
    return LossParts(loss, output, batch.masked, {name: part.detach() for name, part in parts.items()}, statistics)


def _noise_tokens(
    channel: MaskedChannel,
    tokens: Tensor,
    maskable: Tensor,
    attention_mask: Tensor | None,
    objective: TrainingObjective,
    noise: TrainingNoise,
    random: RowGenerator,
) -> NoisyTokens:
    times = draw_times(objective.time_distribution, noise.positions(), objective.min_time, objective.time_shift)
    full = random.uniform() < objective.fully_masked_share  # (B,)
    token_times, token_rates = (torch.where(full, 1.0, one) for one in (times.token_times, times.token_rates))
    times = times._replace(token_times=token_times, token_rates=token_rates)
    masked = maskable & (channel.add_noise(tokens, times.token_times, random.branch()) == channel.mask_id)
    noisy = torch.where(masked, channel.mask_id, tokens)
    return NoisyTokens(tokens, maskable, attention_mask, noisy, masked, times)


def _noise_latents(
    denoiser: Denoiser,
    channel: LatentChannel,
    batch: NoisyTokens,
    dropped: Tensor,
    objective: TrainingObjective,
    random: RowGenerator,
    encode: Encode | None,
) -> NoisyLatents:
    """Encodes the batch's tokens, some of them hidden, and noises or drops the latents (t_y = 1)."""
    hiding = objective.encoder_corruption * random.uniform(1)  # (B, 1)
    hidden = batch.masked & (random.branch().uniform(batch.clean.shape[1]) < hiding)
    if objective.encoder_mask_ratio:
        unseen = random.branch().uniform(batch.clean.shape[1]) < objective.encoder_mask_ratio
        hidden = hidden | (batch.maskable & unseen)
    encoder_input = torch.where(hidden, denoiser.token_channel.mask_id, batch.clean)
    encoded = (encode or denoiser.encode)(encoder_input, batch.attention_mask, random)
    noisy = channel.add_noise(encoded.clean, batch.times.latent_times, random)
    noisy = torch.where(dropped.view(-1, *(1 for _ in noisy.shape[1:])), channel.dropped(noisy), noisy)
    batch.times = batch.times._replace(latent_times=torch.where(dropped, 1.0, batch.times.latent_times))
    if encoded.unquantized is not None and objective.quantizer_dropout:
        unrounded = random.uniform(1, 1) < objective.quantizer_dropout  # (B, 1, 1)
        encoded.vectors = torch.where(unrounded, encoded.unquantized, encoded.vectors)
    return NoisyLatents(encoded, noisy, dropped)


def _denoise(
    denoiser: Denoiser, batch: NoisyTokens, latents: NoisyLatents | None, noisy_tokens: Tensor, token_times: Tensor
) -> Any:
    """Evaluates the denoiser once, with logits at the masked positions."""
    of_latents: dict[str, Tensor] = {}
    if latents is not None:
        of_latents = {"latents": latents.noisy, "latent_timesteps": batch.times.latent_times}
        if latents.encoded.codes is not None:
            of_latents["latent_vectors"] = latents.encoded.vectors
    return denoiser.denoise(
        noisy_tokens,
        token_timesteps=token_times,
        attention_mask=batch.attention_mask,
        logits_mask=batch.masked,
        **of_latents,
    )


def _token_loss(denoiser: Denoiser, logits: Tensor, batch: NoisyTokens, objective: TrainingObjective) -> Tensor:
    """Returns the sum of L_x, the cross-entropy at the masked positions. `logits` are `(n, V)`."""
    channel = denoiser.token_channel
    cross_entropy = channel.cross_entropy(logits, batch.clean[batch.masked])  # (n,)
    elbo = objective.token_weighting == "elbo"
    weight = token_weights(channel, batch.times) if elbo else (batch.times.token_rates > 0).double()  # (B,)
    weight = weight[:, None].expand(batch.masked.shape)[batch.masked]  # (n,)
    return (weight.to(cross_entropy) * cross_entropy).sum()


def _latent_loss(
    channel: LatentChannel, prediction: Tensor, latents: NoisyLatents, times: TimePoints, objective: TrainingObjective
) -> Tensor:
    """Returns the sum of L_y over examples that keep latents: squared error, or cross-entropy over masked codes."""
    clean = latents.encoded.clean
    if not objective.latent_target_gradient:
        clean = clean.detach()
    if objective.latent_weighting == "elbo":
        loss = latent_terms(channel, prediction, clean, latents.noisy, times) / clean.shape[1]
    else:
        loss = (times.latent_rates > 0) * channel.loss(prediction, clean, latents.noisy, times.latent_times)
    total = (loss * ~latents.dropped).sum()
    return total.to(at_least_float32(prediction).dtype)  # the bound's weights are float64


def _contrastive_loss(
    denoiser: Denoiser, batch: NoisyTokens, objective: TrainingObjective, random: RowGenerator
) -> Tensor:
    """Returns the sum of InfoNCE between the latents of two maskings of each text, with in-batch negatives."""
    views = []
    for _ in range(2):
        hidden = batch.maskable & (random.branch().uniform(batch.clean.shape[1]) < objective.contrastive_mask_ratio)
        view = torch.where(hidden, denoiser.token_channel.mask_id, batch.clean)
        pooled = denoiser.encode(view, batch.attention_mask, random, update_codebook=False).vectors.mean(1)  # (B, D)
        views.append(F.normalize(at_least_float32(pooled), dim=-1))
    similarity = views[0] @ views[1].T / objective.contrastive_temperature  # (B, B)
    own = torch.arange(len(similarity), device=similarity.device)
    both = torch.stack([F.cross_entropy(x, own, reduction="sum") for x in (similarity, similarity.T)])
    return both.mean()


def _conditional_independence_loss(
    denoiser: Denoiser, logits: Tensor, batch: NoisyTokens, latents: NoisyLatents
) -> Tensor:
    """Returns the summed KL from the prediction given (x_t, y_t), detached, to the one given y_t and masks only."""
    mask_id = denoiser.token_channel.mask_id
    all_masked = torch.where(batch.maskable, mask_id, batch.clean)
    blind = _denoise(denoiser, batch, latents, all_masked, torch.ones_like(batch.times.token_times)).logits  # (n, V)
    informed_log, blind_log = (at_least_float32(x).log_softmax(-1) for x in (logits.detach(), blind))
    impossible = informed_log.isneginf()  # ids that are never written, such as the mask token, add nothing: 0 log 0
    informed_log, blind_log = (x.masked_fill(impossible, 0) for x in (informed_log, blind_log))
    return F.kl_div(blind_log, informed_log, reduction="sum", log_target=True)


def _distinct(codes: Tensor) -> Tensor:
    """Returns the number of distinct codes in a batch, without synchronising with the device."""
    ordered = codes.flatten().sort().values
    return 1 + (ordered.diff() != 0).sum().float()
