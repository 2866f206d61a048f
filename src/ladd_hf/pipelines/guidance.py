"""Evaluation of the denoiser in a run, with or without guidance. Paper, sections 6 and 8."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from ..diffusion.latents_alone import LatentsAlone, together_with_others
from ..models.fsdp import is_sharded
from ..models.modeling_ladd import LaddOutput
from ..schedulers import LaddScheduler
from ..schedulers.step_plan import StepPlan
from ..utils.wrong_objects import check_number


@dataclass
class GuidedDenoiser:
    """Evaluates a denoiser at the steps of a run.

    Attributes:
        model: the denoiser.
        scheduler: the scheduler of the run.
        attention_mask: `(B, S)`, 0 at padding, or `None`.
        guidance_scale: w in u + w (c - u), for token logits with latents (c) and without (u); 1 disables guidance. It
            may change from step to step.
        skip_idle_rows: skip rows in which the step changes nothing, and evaluations without remaining rows.
        count: number of evaluations so far: calls of the denoiser, one for each step, guided or not.
        row_count: rows evaluated so far: a guided evaluation is of twice the batch's rows, one of a row that is skipped
            of none; a row whose latents are predicted without its tokens, in a step that writes both, is two.
    """

    model: Any
    scheduler: LaddScheduler
    attention_mask: Tensor | None = None
    guidance_scale: float = 1.0
    skip_idle_rows: bool = False
    count: int = field(default=0, init=False)
    row_count: int = field(default=0, init=False)
    _estimate: Tensor | None = field(default=None, init=False)  # of y_0, from the last step that moved latents

    def __call__(self, tokens: Tensor, latents: Tensor | None, plan: StepPlan) -> Any:
        """Returns logits `(n, V)` at `plan.unmask`, in row-major order, and the prediction of the latents.

        The scheduler does not read the prediction of rows without `plan.latent_moves`.
        """
        estimate = self._estimate
        if not self.skip_idle_rows or (busy := plan.busy_rows).all():
            output = self._denoise(tokens, latents, self.attention_mask, estimate, plan, plan.unmask)
            if getattr(self.model.config, "latent_self_conditioning", False):
                self._estimate = self.scheduler.latent_estimate(output, plan.timestep, latents, estimate)
            return output
        # Rows are idle only in steps that move no continuous latents, which keep their estimate.
        if not busy.any():
            return self._nothing(plan)
        latents, mask, estimate = (None if x is None else x[busy] for x in (latents, self.attention_mask, estimate))
        output = self._denoise(tokens[busy], latents, mask, estimate, plan, plan.unmask[busy])
        if plan.latent_moves is not None:
            prediction = output.latent_prediction
            of_all = prediction.new_zeros((len(busy), *prediction.shape[1:]))
            output.latent_prediction = of_all.index_put((busy,), prediction)
        return output

    def _denoise(
        self,
        tokens: Tensor,
        latents: Tensor | None,
        mask: Tensor | None,
        estimate: Tensor | None,
        plan: StepPlan,
        unmask: Tensor,
    ) -> Any:
        self.count += 1
        t_x, t_y = plan.times
        options: dict[str, Any] = {"token_timesteps": t_x, "latent_timesteps": None if latents is None else t_y}
        if estimate is not None:
            options["latent_estimate"] = estimate
        if mask is not None:
            options["attention_mask"] = mask
        config = self.model.config
        if plan.latent_target is not None and getattr(config, "latent_flow_map", False):
            options["latent_target_timesteps"] = plan.latent_target
        alone = LatentsAlone(getattr(config, "latents_alone", "never"), config.mask_token_id)
        guided = self.guidance_scale != 1 and latents is not None and plan.moves_tokens
        call = self._guided if guided else self._plain
        latents_move = plan.latent_moves is not None
        in_step = together_with_others() and is_sharded(self.model)  # else a process waits for one without such rows
        output = alone.evaluate(call, tokens, latents, latents_move, in_step, **options, logits_mask=unmask)
        if output.logits is None and plan.moves_tokens:  # none was revealed
            output.logits = output.latent_prediction.new_zeros(0, config.vocab_size)
        return output

    def _plain(self, tokens: Tensor | None, latents: Tensor | None, **options: Any) -> Any:
        rows = tokens if tokens is not None else latents
        assert rows is not None
        self.row_count += len(rows)
        return self.model(tokens, latents, **options)

    def _guided(self, tokens: Tensor | None, latents: Tensor, *, logits_mask: Any = None, **options: Any) -> Any:
        """Applies classifier-free guidance on the latents, with both halves in one batch."""
        if tokens is None:
            return self._plain(None, latents, **options)
        rows = len(tokens)
        self.row_count += 2 * rows
        doubled = {name: _twice(value, rows) for name, value in options.items()}
        if (estimate := options.get("latent_estimate")) is not None:
            doubled["latent_estimate"] = torch.cat([estimate, torch.zeros_like(estimate)])
        for times in ("latent_timesteps", "latent_target_timesteps"):
            if times in doubled:  # latents that are pure noise, and stay so, carry no information
                doubled[times][rows:] = 1.0
        output = self.model(
            torch.cat([tokens, tokens]),
            torch.cat([latents, self.scheduler.dropped_latents(latents)]),
            **doubled,
            logits_mask=torch.cat([logits_mask, logits_mask]),
        )
        given, without = output.logits.chunk(2)
        output.logits = torch.where(given.isneginf(), given, without + self.guidance_scale * (given - without))
        if output.latent_prediction is not None:
            output.latent_prediction = output.latent_prediction[:rows]
        return output

    def _nothing(self, plan: StepPlan) -> LaddOutput:
        """Returns the output for a step in which no row changes."""
        config, nothing, moves = self.model.config, torch.zeros((), device=plan.unmask.device), plan.latent_moves
        return LaddOutput(
            logits=nothing.expand(0, config.vocab_size),
            latent_prediction=None if moves is None else nothing.expand(*moves.shape, config.codebook_size),
        )


def check_guidance(scale: Any, config: Any) -> None:
    """Raises `ValueError` for a scale that is no number, and for another than 1 if the model has no latents."""
    check_number("`guidance_scale`", scale)
    if scale != 1 and config.latent_type == "none":
        raise ValueError(f"`guidance_scale` is {scale}, but the model has no latents to guide by: leave it at 1.")


def _twice(value: Any, rows: int) -> Any:
    """Repeats times `(1,)` or a mask `(B, S)` for a doubled batch; returns anything else as it is."""
    if not isinstance(value, Tensor):
        return value
    return value.repeat(2 * rows) if value.ndim == 1 else torch.cat([value, value])
