"""One reverse step before the denoiser is evaluated: from which times to which, and what it changes."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from ..diffusion.paths import Point
from .unmasking import TokenStep


@dataclass(frozen=True)
class StepPlan:
    """A reverse step of a batch, drawn by `LaddScheduler.plan_step` and carried out by `LaddScheduler.step`.

    Attributes:
        timestep: index of the step.
        start, end: the points (t_x, t_y) and (s_x, s_y) of the time square.
        times: t_x and t_y at the start as tensors, `(1,)` each, which the model spreads over the batch.
        token_step: the tokens' part, `None` where t_x does not change.
        unmask: `(B, S)` bool, positions at which the step needs logits: those it reveals, or all that it chooses among
            by their logits (`unmasking` by confidence).
        latent_moves: `(B, M)` bool, latents that change: the codes that are revealed, or all continuous ones; `None`
            where t_y does not change.
        editable_mask: `(B, S)` bool, positions that the run writes; `None` for all.
    """

    timestep: int
    start: Point
    end: Point
    times: tuple[Tensor, Tensor]
    token_step: TokenStep | None
    unmask: Tensor
    latent_moves: Tensor | None = None
    editable_mask: Tensor | None = None

    @property
    def moves_tokens(self) -> bool:
        """True if t_x falls in the step."""
        return self.token_step is not None

    @property
    def busy_rows(self) -> Tensor:
        """Rows in which the step changes anything, `(B,)` bool."""
        rows = self.unmask.any(1)
        return rows if self.latent_moves is None else rows | self.latent_moves.any(1)
