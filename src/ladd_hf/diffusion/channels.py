"""Latent channels: prior, noise, reverse step and loss of each kind of latents. Tokens are a masked channel too.

One class per kind holds all differences between continuous latents and codes.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from .gaussian import (
    LATENT_SOLVERS,
    add_gaussian_noise,
    add_noise_between,
    ddim_step,
    ddpm_mean,
    ddpm_step,
    ddpm_variance,
    noise_from_sample,
    noise_weight,
    sample_from_noise,
    sample_weight,
    time_before_noise,
)
from .masked import OWN_LAW, TokenSampler, add_mask_noise, draw_unmask
from .noise_schedules import GaussianSchedule, MaskSchedule
from .precision import at_least_float32
from .rng import RowGenerator

# The bound of continuous latents depends on the smallest noise; it is taken over steps of this length in time.
BOUND_STEP = 1e-3


@dataclass
class EncodedLatents:
    """Clean latents of a batch.

    Attributes:
        vectors: `(B, M, D)` with a gradient to the encoder: the continuous latents, or the codes' codebook vectors.
        kl: `(B,)` KL in nats from the encoder's Gaussian to a standard normal; 0.5 |y_0|^2 if it has no variance.
        codes: `(B, M)` codes, or `None` for continuous latents.
        commitment_loss: scalar loss of the quantiser.
        unquantized: `(B, M, D)` vectors before quantisation, or before they are snapped to anchors; `None` for other
            continuous latents.
    """

    vectors: Tensor
    kl: Tensor
    codes: Tensor | None = None
    commitment_loss: Tensor = field(default_factory=lambda: torch.zeros(()))
    unquantized: Tensor | None = None

    @property
    def clean(self) -> Tensor:
        """The latents to diffuse: the codes, or the vectors."""
        return self.vectors if self.codes is None else self.codes


class LatentChannel(ABC):
    """Interface of a kind of latents, used by the scheduler, the objective and the pipeline.

    Attributes:
        ends_noisy: True if clean latents have no probability, so that a run over which they are averaged out ends
            before they are clean.
        has_own_law: False if the steps of a run draw another law than the one that bounds are of.
        is_drawn: True if latents are drawn from a law over codes or anchors, which may be tempered.
        has_rate: False if the bound of a step is not its `rate` times the rise of `progress`, so that it has to be
            known for both of its times.
    """

    ends_noisy: bool = False
    has_own_law: bool = True
    is_drawn: bool = True
    has_rate: bool = True

    @abstractmethod
    def prior(self, length: int, random: RowGenerator) -> Tensor:
        """Returns latents at t_y = 1: pure noise, `(B, M, D)` or `(B, M)`."""

    @abstractmethod
    def dropped(self, latents: Tensor) -> Tensor:
        """Returns latents without information, in the shape of `latents`: zeros or mask codes. Paper, section 6."""

    def unrelated(self, latents: Tensor, random: RowGenerator) -> Tensor:
        """Draws latents that are of no text, in the shape of `latents`: by default pure noise."""
        return self.prior(latents.shape[1], random).to(latents)

    def seen(self, noisy: Tensor) -> Tensor:
        """Returns the latents that say anything, `(B, M)` bool: by default all of them."""
        return torch.ones(noisy.shape[:2], dtype=torch.bool, device=noisy.device)

    @abstractmethod
    def add_noise(self, clean: Tensor, t: Tensor, random: RowGenerator) -> Tensor:
        """Noises clean latents to times `t` `(B,)`."""

    @abstractmethod
    def loss(self, prediction: Tensor, clean: Tensor, noisy: Tensor, t: Tensor) -> Tensor:
        """Returns the plain loss per example at times `t`, `(B,)`, averaged over the latents."""

    @abstractmethod
    def bound(self, prediction: Tensor, clean: Tensor, noisy: Tensor, t: Tensor) -> Tensor:
        """Returns the bound's integrand at times `t`, in nats per example and unit of time, `(B,)`."""

    @abstractmethod
    def step_bound(
        self, prediction: Tensor, clean: Tensor, noisy: Tensor, t: Tensor, s: Tensor, random: RowGenerator
    ) -> Tensor:
        """Returns the bound's term of a run's step t -> s, in nats per example, `(B,)`; 0 where s = t.

        Where it has no closed form it is an unbiased estimate, from a draw of the step.
        """

    @abstractmethod
    def rate(self, prediction: Tensor, clean: Tensor, noisy: Tensor, t: Tensor) -> Tensor:
        """Returns the bound's nats per example and unit of `progress` in a short step from times `t`, `(B,)`."""

    @abstractmethod
    def progress(self, t: Tensor) -> Tensor:
        """Returns a number that rises as t falls, in the shape of `t`: a step's bound is proportional to its rise."""

    @abstractmethod
    def draw_moves(self, noisy: Tensor, t: float, s: float, random: RowGenerator) -> Tensor:
        """Draws the latents that the step t -> s changes, `(B, M)` bool, independent of the denoiser's output."""

    @abstractmethod
    def known(self, noisy: Tensor, t: float) -> Tensor:
        """Returns the latents that are clean at time t, `(B, M)` bool."""

    @abstractmethod
    def written(self, moves: Tensor, s: float) -> Tensor:
        """Returns those of the changed latents `moves` `(B, M)` that a step to time s makes clean, `(B, M)` bool."""

    @abstractmethod
    def step(
        self,
        prediction: Tensor,
        noisy: Tensor,
        t: float,
        s: float,
        random: RowGenerator,
        moves: Tensor,
        draw: TokenSampler = OWN_LAW,
    ) -> Tensor:
        """Returns latents at time s from those at time t > s, the denoiser's prediction at t and `draw_moves`.

        `draw` maps logits over codes or anchors `(n, K)` and uniform numbers `(n,)` to them, `(n,)`.
        """

    @abstractmethod
    def start_log_ratio(self, clean: Tensor, noisy: Tensor, t: float) -> Tensor:
        """Returns log p(noisy) - log q(noisy | clean) of latents that a run starts with at time t, `(B,)` float64."""

    @abstractmethod
    def forced_step(self, clean: Tensor, noisy: Tensor, t: float, s: float, random: RowGenerator) -> Tensor:
        """Returns latents at time s as a step t -> s moves them that knows where they lead: from q(y_s | y_t, y_0)."""

    @abstractmethod
    def step_log_ratio(
        self, prediction: Tensor, clean: Tensor, noisy: Tensor, following: Tensor, t: float, s: float
    ) -> Tensor:
        """Returns log p(y_s | y_t) - log q(y_s | y_t, y_0) of a step's result `following`, `(B,)` float64.

        p is the step from the denoiser's prediction at t.
        """

    def of_output(self, output: Any) -> LatentChannel:
        """Returns the channel that reads the prediction of this output: itself, if that needs nothing else of it."""
        return self

    @abstractmethod
    def check(self, latents: Tensor, batch_size: int, length: int) -> None:
        """Raises `ValueError` unless `latents` are clean latents of this kind for the batch."""


class MaskedChannel:
    """Masked diffusion channel of tokens, and the base class of discrete latents.

    Args:
        schedule: alpha(t).
        mask_id: id of the mask token or mask code.
    """

    def __init__(self, schedule: MaskSchedule, mask_id: int | None) -> None:
        self.schedule = schedule
        self.mask_id: Any = mask_id  # `None` for a scheduler that has no model yet

    def add_noise(self, clean: Tensor, t: Tensor, random: RowGenerator) -> Tensor:
        """Masks each of the `(B, length)` ids with probability 1 - alpha(t), `t` `(B,)`."""
        return add_mask_noise(clean, self.schedule.alpha(t), random.uniform(clean.shape[1]), self.mask_id)

    def draw_unmask(self, ids: Tensor, t: float, s: float, random: RowGenerator, remask: float = 0.0) -> Tensor:
        """Draws the positions to reveal in the step t -> s, `(B, length)` bool; `remask`: see `masked.draw_unmask`."""
        alpha_t, alpha_s = (self.alpha_at(time) for time in (t, s))
        return draw_unmask(ids == self.mask_id, alpha_t, alpha_s, random.uniform(ids.shape[1]), remask)

    def reveal(
        self, ids: Tensor, places: Tensor, logits: Tensor, uniform: Tensor, draw: TokenSampler = OWN_LAW
    ) -> Tensor:
        """Returns `(B, length)` ids: those at `places` drawn from the denoiser's logits, the others unchanged.

        Args:
            ids: `(B, length)`.
            places: `(B, length)` bool, such as `draw_unmask` returns.
            logits: `(n, K)` at the places, in row-major order.
            uniform: `(B, length)` uniform numbers in [0, 1); those at the places are used.
            draw: draws from the logits.
        """
        return ids.masked_scatter(places, draw(logits, uniform[places]).to(ids.dtype))

    def cross_entropy(self, logits: Tensor, clean: Tensor) -> Tensor:
        """Returns the cross-entropy of each id in nats: `(..., K)` logits, `(...)` ids to `(...)`, at least float32."""
        flat = at_least_float32(logits.flatten(0, -2))
        return F.cross_entropy(flat, clean.flatten(), reduction="none").view_as(clean)

    def progress(self, t: Tensor) -> Tensor:
        """Returns alpha(t), and 1 at time 0 for any schedule: a step's bound is proportional to its rise."""
        return torch.where(t <= 0, 1.0, self.schedule.alpha(t))

    def reveal_probability(self, t: Tensor, s: Tensor) -> Tensor:
        """Returns the probability that the step t -> s reveals a masked position, `(B,)`; at time 0 all are visible."""
        alpha_t, alpha_s = self.schedule.alpha(t), self.progress(s)
        return torch.where(t == s, 0.0, (alpha_s - alpha_t) / (1 - alpha_t))

    def alpha_at(self, time: float) -> float:
        """Returns alpha(t) as a number; 1 at time 0 for any schedule."""
        return 1.0 if time <= 0 else float(self.schedule.alpha(torch.tensor(time, dtype=torch.float64)))


class DiscreteLatents(MaskedChannel, LatentChannel):
    """Codes from a codebook of `codebook_size`, masked like tokens (Di-LADD)."""

    def prior(self, length: int, random: RowGenerator) -> Tensor:
        """Returns mask codes, `(B, M)`."""
        return torch.full((len(random), length), self.mask_id, device=random.keys.device)

    def dropped(self, latents: Tensor) -> Tensor:
        """Returns mask codes in the shape of `latents`."""
        return torch.full_like(latents, self.mask_id)

    def unrelated(self, latents: Tensor, random: RowGenerator) -> Tensor:
        """Draws codes evenly from the codebook, `(B, M)`."""
        return (random.uniform(latents.shape[1]) * self.mask_id).long()

    def seen(self, noisy: Tensor) -> Tensor:
        """Returns the codes that are not masked, `(B, M)` bool."""
        return noisy != self.mask_id

    def loss(self, prediction: Tensor, clean: Tensor, noisy: Tensor, t: Tensor) -> Tensor:
        """Returns the cross-entropy at masked codes over the number of codes, `(B,)` nats, from `(B, M, K)` logits."""
        return self._masked_cross_entropy(prediction, clean, noisy).mean(1)

    def bound(self, prediction: Tensor, clean: Tensor, noisy: Tensor, t: Tensor) -> Tensor:
        """Returns -alpha'(t) / (1 - alpha(t)) times the cross-entropy summed over masked codes, `(B,)` nats."""
        return self.schedule.weight(t) * self._masked_cross_entropy(prediction, clean, noisy).sum(1)

    def step_bound(
        self, prediction: Tensor, clean: Tensor, noisy: Tensor, t: Tensor, s: Tensor, random: RowGenerator
    ) -> Tensor:
        """Returns the probability of being revealed times the cross-entropy summed over masked codes, `(B,)` nats."""
        return self.reveal_probability(t, s) * self._masked_cross_entropy(prediction, clean, noisy).sum(1)

    def rate(self, prediction: Tensor, clean: Tensor, noisy: Tensor, t: Tensor) -> Tensor:
        """Returns the cross-entropy summed over masked codes over the share that is masked, `(B,)` nats."""
        return self._masked_cross_entropy(prediction, clean, noisy).sum(1) / (1 - self.progress(t))

    def draw_moves(self, noisy: Tensor, t: float, s: float, random: RowGenerator) -> Tensor:
        """Draws the codes to reveal, `(B, M)` bool."""
        return self.draw_unmask(noisy, t, s, random)

    def known(self, noisy: Tensor, t: float) -> Tensor:
        """Returns the codes that are not masked, `(B, M)` bool."""
        return noisy != self.mask_id

    def written(self, moves: Tensor, s: float) -> Tensor:
        """Returns `moves`: codes that are revealed."""
        return moves

    def step(
        self,
        prediction: Tensor,
        noisy: Tensor,
        t: float,
        s: float,
        random: RowGenerator,
        moves: Tensor,
        draw: TokenSampler = OWN_LAW,
    ) -> Tensor:
        """Reveals the codes of `moves`, drawn from the predicted logits `(B, M, K)`; the others do not change."""
        return self.reveal(noisy, moves, prediction[moves], random.uniform(noisy.shape[1]), draw)

    def start_log_ratio(self, clean: Tensor, noisy: Tensor, t: float) -> Tensor:
        """Returns zeros: which codes are masked does not depend on what they are."""
        return torch.zeros(len(noisy), dtype=torch.float64, device=noisy.device)

    def forced_step(self, clean: Tensor, noisy: Tensor, t: float, s: float, random: RowGenerator) -> Tensor:
        """Reveals codes as a step does, `(B, M)`."""
        return torch.where(self.draw_unmask(noisy, t, s, random), clean, noisy)

    def step_log_ratio(
        self, prediction: Tensor, clean: Tensor, noisy: Tensor, following: Tensor, t: float, s: float
    ) -> Tensor:
        """Returns the log-probabilities of the revealed codes, from `(B, M, K)` logits."""
        nats = self.cross_entropy(prediction.double(), clean)
        return -(nats * ((noisy == self.mask_id) & (following != self.mask_id))).sum(1)

    def check(self, latents: Tensor, batch_size: int, length: int) -> None:
        """Raises `ValueError` unless `latents` are `(batch_size, length)` int64 codes without the mask code."""
        shape = (batch_size, length)
        if latents.dtype != torch.int64 or latents.shape != shape:
            raise ValueError(
                f"`latents` have shape {tuple(latents.shape)} and dtype {latents.dtype}; this model takes codes of "
                f"shape {shape} and dtype torch.int64, as `encode_latents` gives them."
            )
        if latents.numel() and not 0 <= int(latents.min()) <= int(latents.max()) < self.mask_id:
            raise ValueError(
                f"`latents` hold codes from {int(latents.min())} to {int(latents.max())}; this model takes clean codes "
                f"from 0 to {self.mask_id - 1}."
            )

    def _masked_cross_entropy(self, logits: Tensor, clean: Tensor, noisy: Tensor) -> Tensor:
        return self.cross_entropy(logits, clean) * (noisy == self.mask_id)


class ContinuousLatents(LatentChannel):
    """Vectors under variance-preserving Gaussian noise (Co-LADD).

    Args:
        schedule: a(t)^2.
        predicts_noise: True if the network predicts the noise, False if it predicts y_0.
        latent_dim: size D of a latent.
        solver: the reverse step: `ddim`, `ddpm` or another registered solver.
        renoising: share of the noise at a step's end that the step draws anew, from 0 to 1.

    Attributes:
        known_length: length of each clean latent, to which a step scales the predicted one; `None` if it is not known.
    """

    ends_noisy = True
    is_drawn = False
    known_length: float | None = None

    def __init__(
        self,
        schedule: GaussianSchedule,
        predicts_noise: bool,
        latent_dim: int,
        solver: str = "ddim",
        renoising: float = 0.0,
    ) -> None:
        self.schedule = schedule
        self.predicts_noise = predicts_noise
        self.latent_dim = latent_dim
        self.solver = LATENT_SOLVERS[solver]
        self.renoising = renoising
        self.has_own_law = not renoising

    def prior(self, length: int, random: RowGenerator) -> Tensor:
        """Draws standard normal latents, `(B, M, D)` float32."""
        return random.normal(length, self.latent_dim).float()

    def dropped(self, latents: Tensor) -> Tensor:
        """Returns zeros in the shape of `latents`."""
        return torch.zeros_like(latents)

    def add_noise(self, clean: Tensor, t: Tensor, random: RowGenerator) -> Tensor:
        """Returns y_t = a(t) y_0 + s(t) noise at times `t` `(B,)`: `(B, M, D)` in at least float32."""
        clean = at_least_float32(clean)  # half precision cannot represent the noise at small times
        noise = random.normal(*clean.shape[1:]).to(clean)
        return add_gaussian_noise(self.schedule, clean, noise, self._times(t, clean))

    def trajectory(self, clean: Tensor, times: Sequence[float], random: RowGenerator) -> list[Tensor]:
        """Returns latents `(B, M, D)` at falling times, all of one walk of the forward process from the clean ones."""
        clean = at_least_float32(clean)
        steps = random.normal(len(times), *clean.shape[1:]).to(clean)
        noise, spread, noisy = torch.zeros_like(clean), 0.0, []
        for number in reversed(range(len(times))):  # y_t / a(t) is y_0 and noise that grows by independent pieces
            signal = self.schedule.signal_variance(torch.tensor(times[number], dtype=torch.float64))
            grown = float((1 - signal) / signal)
            noise, spread = noise + math.sqrt(max(grown - spread, 0.0)) * steps[:, number], grown
            noisy.append(float(signal.sqrt()) * (clean + noise))
        return noisy[::-1]

    def loss(self, prediction: Tensor, clean: Tensor, noisy: Tensor, t: Tensor) -> Tensor:
        """Returns the mean squared error of y_0, or of the noise, `(B,)`."""
        return self._squared_error(prediction, clean, noisy, t).mean((1, 2))

    def bound(self, prediction: Tensor, clean: Tensor, noisy: Tensor, t: Tensor) -> Tensor:
        """Returns the squared error with the bound's weight over a step of 1e-3, `(B,)` nats per unit of time."""
        times = t.double().clamp(min=BOUND_STEP)
        weight = self._weight(times, times - BOUND_STEP) / BOUND_STEP
        return weight * self._squared_error(prediction, clean, noisy, t).sum((1, 2))

    def step_bound(
        self, prediction: Tensor, clean: Tensor, noisy: Tensor, t: Tensor, s: Tensor, random: RowGenerator
    ) -> Tensor:
        """Returns the KL from the posterior to the DDPM step t -> s, `(B,)` nats: the weighted squared error."""
        return self._weight(t.double(), s.double()) * self._squared_error(prediction, clean, noisy, t).sum((1, 2))

    def rate(self, prediction: Tensor, clean: Tensor, noisy: Tensor, t: Tensor) -> Tensor:
        """Returns the squared error of y_0, `(B,)`."""
        error = self._squared_error(prediction, clean, noisy, t).sum((1, 2))
        if not self.predicts_noise:
            return error
        signal = self.schedule.signal_variance(t.double())
        return error * (1 - signal) / signal

    def progress(self, t: Tensor) -> Tensor:
        """Returns half the signal-to-noise ratio, a(t)^2 / (2 s(t)^2): its rise weighs the squared error of y_0."""
        signal = self.schedule.signal_variance(t.double())
        return signal / (2 * (1 - signal))

    def _weight(self, t: Tensor, s: Tensor) -> Tensor:
        weigh = noise_weight if self.predicts_noise else sample_weight
        return weigh(self.schedule, t, s)

    def draw_moves(self, noisy: Tensor, t: float, s: float, random: RowGenerator) -> Tensor:
        """Returns True for all latents, `(B, M)` bool: every step denoises every latent."""
        return torch.ones(noisy.shape[:2], dtype=torch.bool, device=noisy.device)

    def known(self, noisy: Tensor, t: float) -> Tensor:
        """Returns True for all latents at time 0, and for none before, `(B, M)` bool."""
        return torch.full(noisy.shape[:2], t <= 0, device=noisy.device)

    def written(self, moves: Tensor, s: float) -> Tensor:
        """Returns `moves` in the step to time 0, and none before."""
        return moves & (s <= 0)

    def step(
        self,
        prediction: Tensor,
        noisy: Tensor,
        t: float,
        s: float,
        random: RowGenerator,
        moves: Tensor,
        draw: TokenSampler = OWN_LAW,
    ) -> Tensor:
        """Makes one step of the solver, `(B, M, D)`; the last one (s = 0) returns the predicted y_0.

        With `renoising` the solver goes on to the `jump_time` before s, and noise leads back to s. If the solver's
        latents have the law of the process at that time, so have those at s, whatever the share.
        """
        clean = self._step_target(prediction, noisy, t, random, draw)
        if s <= 0:
            return clean
        end, noise = self.jump_time(s), random.normal(*noisy.shape[1:]).to(noisy)
        times = (torch.tensor(time, dtype=noisy.dtype, device=noisy.device) for time in (t, end))
        moved = self.solver(self.schedule, clean, noisy, *times, noise) if end > 0 else clean
        if end == s:
            return moved
        return add_noise_between(self.schedule, moved, end, s, random.normal(*noisy.shape[1:]).to(noisy))

    @property
    def follows_jumps(self) -> bool:
        """True if the solver runs along the chord to the predicted y_0, as jumps do; others need the mean of y_0."""
        return self.solver is ddim_step

    def jump_time(self, s: float) -> float:
        """Returns the time that the solver leads to in a step to time s: s itself, or before it with `renoising`."""
        return time_before_noise(self.schedule, s, self.renoising)

    def _step_target(
        self, prediction: Tensor, noisy: Tensor, t: float, random: RowGenerator, draw: TokenSampler
    ) -> Tensor:
        """Returns the y_0 that a step leads to, `(B, M, D)`."""
        clean = self.predicted_sample(prediction, noisy, t)
        return clean if self.known_length is None else F.normalize(clean, dim=-1) * self.known_length

    def start_log_ratio(self, clean: Tensor, noisy: Tensor, t: float) -> Tensor:
        """Returns the ratio of a standard normal density to that of the noised latents."""
        noisy, time = noisy.double(), torch.tensor(t, dtype=torch.float64, device=noisy.device)
        spread = self.schedule.noise(time)
        noise = (noisy - self.schedule.signal(time) * clean.double()) / spread
        return (noise.square() / 2 - noisy.square() / 2 + spread.log()).sum((1, 2))

    def forced_step(self, clean: Tensor, noisy: Tensor, t: float, s: float, random: RowGenerator) -> Tensor:
        """Draws latents at s > 0 from the posterior at the clean latents, `(B, M, D)`."""
        start, end = (torch.tensor(time, dtype=noisy.dtype, device=noisy.device) for time in (t, s))
        noise = random.normal(*noisy.shape[1:]).to(noisy)
        return ddpm_step(self.schedule, clean.to(noisy), noisy, start, end, noise)

    def step_log_ratio(
        self, prediction: Tensor, clean: Tensor, noisy: Tensor, following: Tensor, t: float, s: float
    ) -> Tensor:
        """Returns the ratio of two Gaussians with the variance of the DDPM step, s > 0: around the mean from the
        predicted y_0, and around that from the clean one."""
        times = tuple(torch.tensor(time, dtype=torch.float64, device=noisy.device) for time in (t, s))
        noisy, clean = noisy.double(), clean.double()
        predicted = self.predicted_sample(prediction.double(), noisy, t)
        of_model, of_process = (ddpm_mean(self.schedule, one, noisy, *times) for one in (predicted, clean))
        apart = (following.double() - of_model).square() - (following.double() - of_process).square()
        return -(apart / (2 * ddpm_variance(self.schedule, *times))).sum((1, 2))

    def predicted_sample(self, prediction: Tensor, noisy: Tensor, t: float) -> Tensor:
        """Returns the predicted y_0, computed from the predicted noise if the network predicts noise."""
        return self._sample(prediction, noisy, torch.tensor(t, dtype=noisy.dtype, device=noisy.device))

    def estimate(self, prediction: Tensor, noisy: Tensor, t: Tensor) -> Tensor:
        """Returns the predicted mean of y_0 at times `t` `(B,)`, `(B, M, D)`: an input of the next evaluation."""
        return self._sample(prediction, noisy, self._times(t, noisy))

    def _sample(self, prediction: Tensor, noisy: Tensor, times: Tensor) -> Tensor:
        """Returns the predicted y_0 at times that broadcast against the latents."""
        if not self.predicts_noise:
            return prediction.to(noisy)
        return sample_from_noise(self.schedule, noisy, prediction.to(noisy), times)

    def check(self, latents: Tensor, batch_size: int, length: int) -> None:
        """Raises `ValueError` unless `latents` are `(batch_size, length, latent_dim)` of a floating dtype."""
        shape = (batch_size, length, self.latent_dim)
        if not latents.is_floating_point() or latents.shape != shape:
            raise ValueError(
                f"`latents` have shape {tuple(latents.shape)} and dtype {latents.dtype}; this model takes vectors of "
                f"shape {shape} and a floating dtype, as `encode_latents` gives them."
            )

    def _squared_error(self, prediction: Tensor, clean: Tensor, noisy: Tensor, t: Tensor) -> Tensor:
        target, noisy = at_least_float32(clean), at_least_float32(noisy)
        if self.predicts_noise:
            target = noise_from_sample(self.schedule, noisy, target, self._times(t, target)).detach()
        return (at_least_float32(prediction) - target).square()

    @staticmethod
    def _times(t: Tensor, latents: Tensor) -> Tensor:
        return t.to(latents.dtype)[:, None, None]
