"""The reverse step between two points of a run: its plan, and what is written once the denoiser has run."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch
from diffusers.utils import BaseOutput
from torch import Tensor

from ..diffusion.channels import LatentChannel
from ..diffusion.continuous_latents import ContinuousLatents
from ..diffusion.masked import TokenSampler
from ..diffusion.masked_channels import MaskedChannel
from ..diffusion.paths import Point
from ..diffusion.rng import Generators, RowGenerator
from ..diffusion.token_waiting import Waiting
from ..models.chunks import latents_of_tokens, parsed_unpooling
from ..models.vocabulary import Vocabulary
from .remasking import NoRemasking
from .step_plan import StepPlan
from .unmasking import TokenStep


@dataclass
class LaddSchedulerOutput(BaseOutput):
    """Output of one reverse step.

    Attributes:
        prev_sample: `(B, S)` tokens, fewer of them masked.
        prev_latents: `(B, M, D)` or `(B, M)` less noisy latents, or `None`.
        transfer_index: `(B, S)` bool, the masked tokens that the step has written.
        sampled_tokens: `(B, S)` what it has written there, the mask token elsewhere.
        sampled_probs: `(B, S)` probability of each by the denoiser, at temperature 1 and of all tokens, whatever the
            sampler's `temperature`, `top_p` and `top_k`; 0 elsewhere.
    """

    prev_sample: Tensor
    prev_latents: Tensor | None = None
    transfer_index: Tensor | None = None
    sampled_tokens: Tensor | None = None
    sampled_probs: Tensor | None = None


class ReverseStep:
    """Part of a scheduler with a grid of points: the step from one of them to the next."""

    if TYPE_CHECKING:
        config: Any
        times: Any
        _tokens: MaskedChannel
        _unmasking: Any
        _remasking: Any
        _waiting: Waiting | None
        _vocabulary: Vocabulary
        _token_steps: list[TokenStep | None]
        _token_sampler: TokenSampler
        _latent_sampler: TokenSampler

        def _channel(self) -> LatentChannel: ...
        def _check_mask(self) -> None: ...
        def _interval(self, timestep: int | Tensor) -> tuple[Point, Point]: ...
        def _index(self, timestep: int | Tensor) -> int: ...

    def plan_step(
        self,
        timestep: int | Tensor,
        sample: Tensor,
        latents: Tensor | None = None,
        generator: Generators = None,
        editable_mask: Tensor | None = None,
        attention_mask: Tensor | None = None,
    ) -> StepPlan:
        """Draws the positions that a step changes, before the denoiser runs and independent of its output.

        Args:
            timestep: index of the step, from `timesteps`.
            sample: `(B, S)` tokens at t_x.
            latents: `(B, M, D)` or `(B, M)` latents at t_y.
            generator: one generator, a list with one per row, or a `RowGenerator` that serves a whole run.
            editable_mask: `(B, S)` bool, positions that the run writes, such as all after a prompt; other positions are
                never remasked and not counted. All by default.
            attention_mask: `(B, S)`, 0 at padding, on which depends which tokens wait for a latent. `None` without
                padding.

        Raises `ValueError` for a step that does not exist, and if the mask token is unknown.
        """
        self._check_mask()
        index, (start, end) = self._index(timestep), self._interval(timestep)
        random = RowGenerator.from_generator(generator, len(sample), sample.device)
        nothing = torch.zeros_like(sample, dtype=torch.bool)
        plan = StepPlan(index, start, end, self.times(index), self._token_steps[index], nothing)
        plan = replace(plan, editable_mask=editable_mask)
        if self._waiting is None or latents is None:
            return self._with_moves(self._with_tokens(plan, sample, random), latents, random)
        plan = self._with_moves(plan, latents, random)  # before tokens, some of which wait for what moves
        waiting = self._waiting_tokens(plan, sample, latents, attention_mask)
        return self._with_tokens(replace(plan, waiting=waiting), sample, random)

    def step(
        self,
        model_output: Any,
        timestep: int | Tensor,
        sample: Tensor,
        latents: Tensor | None = None,
        *,
        plan: StepPlan | None = None,
        sampler: TokenSampler | None = None,
        latent_sampler: TokenSampler | None = None,
        generator: Generators = None,
        return_dict: bool = True,
    ) -> LaddSchedulerOutput | tuple[Tensor, Tensor | None]:
        """Makes the reverse step of tokens and latents.

        Args:
            model_output: the denoiser's output, with `logits` `(B, S, V)`, or `(n, V)` at the n positions of
                `plan.unmask`, and `latent_prediction`; or the logits alone.
            timestep: index of the step, from `timesteps`.
            sample: `(B, S)` tokens at t_x.
            latents: `(B, M, D)` or `(B, M)` latents at t_y.
            plan: from `plan_step`, for the same step; drawn here by default, as for rows without padding.
            sampler, latent_sampler: draw the tokens, and codes or anchors; by default at the scheduler's temperatures.
            generator: one generator, a list with one per row, or a `RowGenerator` that serves a whole run.
            return_dict: return a [`LaddSchedulerOutput`] instead of the plain tuple of its first two, for which the
                probabilities are not computed.

        Raises `ValueError` if `plan` belongs to another step.
        """
        random = RowGenerator.from_generator(generator, len(sample), sample.device)
        if plan is None:
            plan = self.plan_step(timestep, sample, latents, random)
        elif plan.timestep != self._index(timestep):
            raise ValueError(f"`plan` is of step {plan.timestep}, but `timestep` is {int(timestep)}: plan each step.")
        written, logits = plan.unmask, None  # nowhere, in a step that moves no tokens
        if plan.token_step is not None:
            logits = getattr(model_output, "logits", model_output)
            logits = self._vocabulary.without_unwritten(logits[plan.unmask] if logits.ndim == 3 else logits)  # (n, V)
            written = self._unmasking.chosen(plan.unmask, logits, self._tokens, plan.token_step, plan.counted_mask)
            logits = logits if written is plan.unmask else logits[written[plan.unmask]]
            sample = self._reveal(plan, sample, written, logits, sampler or self._token_sampler, random)
        if latents is not None and plan.latent_moves is not None:
            prediction, (_, t_y), (_, s_y) = model_output.latent_prediction, plan.start, plan.end
            channel = self._channel().of_output(model_output)
            draw = latent_sampler or self._latent_sampler
            latents = channel.step(prediction, latents, t_y, s_y, random, plan.latent_moves, draw)
        if not return_dict:
            return sample, latents
        return LaddSchedulerOutput(sample, latents, *self._written(sample, written, logits))

    def latent_estimate(
        self, model_output: Any, timestep: int | Tensor, latents: Tensor | None, previous: Tensor | None = None
    ) -> Tensor | None:
        """Returns the predicted y_0 of continuous latents, `(B, M, D)`, which a model with `latent_self_conditioning`
        is given as `latent_estimate` in the next step; `None` if they are clean by then.

        Args:
            model_output: the denoiser's output in this step.
            timestep: index of the step, from `timesteps`.
            latents: `(B, M, D)` at the step's start.
            previous: the estimate that the step was given, returned if it does not move latents.
        """
        (_, t_y), (_, s_y) = self._interval(timestep)
        if latents is None or s_y <= 0:
            return None
        if t_y <= s_y:
            return previous
        channel = self._channel().of_output(model_output)
        if not isinstance(channel, ContinuousLatents):
            return None
        times = torch.full((len(latents),), t_y, dtype=torch.float64, device=latents.device)
        return channel.estimate(model_output.latent_prediction, latents, times)

    def _with_tokens(self, plan: StepPlan, sample: Tensor, random: RowGenerator) -> StepPlan:
        """Returns the plan with the positions that need logits."""
        if plan.token_step is None:
            return plan
        if plan.waiting is not None:  # like visible tokens, they are neither revealed nor counted
            sample = sample.masked_fill(plan.waiting, int(self._tokens.mask_id == 0))
        unmask = self._unmasking.candidates(self._tokens, sample, plan.token_step, random, plan.counted_mask)
        return replace(plan, unmask=unmask)

    def _with_moves(self, plan: StepPlan, latents: Tensor | None, random: RowGenerator) -> StepPlan:
        """Returns the plan with the latents that change."""
        (_, t_y), (_, s_y) = plan.start, plan.end
        if latents is None or t_y <= s_y:
            return plan
        channel, target = self._channel(), None
        if isinstance(channel, ContinuousLatents) and channel.follows_jumps:
            target = torch.full_like(plan.times[1], channel.jump_time(s_y) if s_y > 0 else 0.0)
        return replace(plan, latent_moves=channel.draw_moves(latents, t_y, s_y, random), latent_target=target)

    def _waiting_tokens(
        self, plan: StepPlan, sample: Tensor, latents: Tensor, attention_mask: Tensor | None
    ) -> Tensor | None:
        """Returns the tokens that wait in a step, `(B, S)` bool; `None` in the last one that moves tokens."""
        if self._waiting is None or plan.token_step is None or plan.token_step.steps_left == 1:
            return None
        (_, t_y), (_, s_y), moves = plan.start, plan.end, plan.latent_moves
        if moves is None:
            moves = torch.zeros(latents.shape[:2], dtype=torch.bool, device=latents.device)
        unpooling, shared = parsed_unpooling(self.config.latent_unpooling)
        own = latents_of_tokens(unpooling, latents.shape[1], sample, attention_mask, shared)
        waiting = replace(self._waiting, latent_of_token=own, shared=shared)
        return waiting.tokens(self._channel(), latents, moves, t_y, s_y, sample.shape[1])

    def _reveal(
        self, plan: StepPlan, sample: Tensor, places: Tensor, logits: Tensor, draw: TokenSampler, random: RowGenerator
    ) -> Tensor:
        """Returns tokens `(B, S)` at s_x: those at `places` drawn from their `logits` `(n, V)`, others remasked."""
        assert plan.token_step is not None
        editable = plan.editable_mask
        uniform = random.uniform(sample.shape[1])
        revealed = self._tokens.reveal(sample, places, logits, uniform, draw)
        if isinstance(self._remasking, NoRemasking):
            return revealed
        again = (sample != self._tokens.mask_id) & (random.uniform(sample.shape[1]) < plan.token_step.remask)
        return revealed.masked_fill(again if editable is None else again & editable, self._tokens.mask_id)

    def _written(self, sample: Tensor, places: Tensor, logits: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
        """Returns where a step to `sample` `(B, S)` has written tokens, these, and their probabilities by the `logits`
        `(n, V)` of these places, `(B, S)` each. They are not masked again in the same step."""
        tokens = sample.masked_fill(~places, self._tokens.mask_id)
        nothing = torch.zeros(sample.shape, device=sample.device)
        if logits is None or not len(logits):
            return places, tokens, nothing
        probabilities = self._tokens.cross_entropy(logits, sample[places]).neg().exp()
        return places, tokens, nothing.to(probabilities.dtype).masked_scatter(places, probabilities)
