"""Plan of one reverse step, made before the denoiser is evaluated: its times and the positions it changes."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from ..diffusion.paths import Point
from .unmasking import TokenStep


@dataclass(frozen=True)
class StepPlan:
    """Plan of a batch's reverse step, drawn by `LaddScheduler.plan_step` and applied by `LaddScheduler.step`.

    Attributes:
        timestep: index of the step.
        start, end: the points (t_x, t_y) and (s_x, s_y) of the time square.
        times: t_x and t_y at the start as tensors, `(1,)` each, broadcast over the batch by the model.
        token_step: the tokens' part of the step, `None` if t_x does not change.
        unmask: `(B, S)` bool, positions at which the step needs logits: those it reveals, or all candidates if
            `unmasking` selects by confidence.
        latent_moves: `(B, M)` bool, latents that change: the revealed codes, or all continuous latents; `None` if t_y
            does not change.
        editable_mask: `(B, S)` bool, positions that the run writes; `None` for all.
        latent_target: `(1,)`, the time that `ddim` leads continuous latents to, which a model with `latent_flow_map` is
            told; `None` if they do not change, and for other solvers, which need the mean of y_0.
        waiting: `(B, S)` bool, tokens that stay as they are, since they wait for their latents; `None` for none.
    """

    timestep: int
    start: Point
    end: Point
    times: tuple[Tensor, Tensor]
    token_step: TokenStep | None
    unmask: Tensor
    latent_moves: Tensor | None = None
    latent_target: Tensor | None = None
    editable_mask: Tensor | None = None
    waiting: Tensor | None = None

    @property
    def moves_tokens(self) -> bool:
        """True if t_x decreases in the step."""
        return self.token_step is not None

    @property
    def counted_mask(self) -> Tensor | None:
        """Positions among which the step reveals tokens, `(B, S)` bool: those that the run writes and that do not wait;
        `None` for all."""
        if self.waiting is None:
            return self.editable_mask
        return ~self.waiting if self.editable_mask is None else self.editable_mask & ~self.waiting

    @property
    def busy_rows(self) -> Tensor:
        """Rows in which the step can change tokens or latents, `(B,)` bool."""
        rows = self.unmask.any(1)
        return rows if self.latent_moves is None else rows | self.latent_moves.any(1)
