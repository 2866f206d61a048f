"""Schedules of the least bound for their number of evaluations, from losses that were measured once. Section 8."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from diffusers import SchedulerMixin
from diffusers.configuration_utils import register_to_config

from ..diffusion.loss_table import LossTable, RunBound
from ..diffusion.optimal_runs import OptimalRuns
from ..diffusion.paths import JOINT, SEQUENTIAL, Point
from ..diffusion.process import NoiseProcess
from ..diffusion.time_axes import TimeAxis
from ..models.configuration_ladd import LaddConfig
from ..utils.number_ranges import COUNT, POSITIVE
from ..utils.registry import Spec
from ..utils.wrong_objects import described
from .scheduling_ladd import LaddScheduler


# loading looks the second base up by name, in this module, as of diffusers 0.42.1
class LaddTunedScheduler(LaddScheduler, SchedulerMixin):
    """Walks, for each number of steps, the path of the time square whose bound is the least under a model's losses.

    Paths are solved when they are asked for, by dynamic programming over the table that `tune_schedule` measured, which
    is saved with the scheduler. Tokens and latents may both move in a step, or either of them alone. The grid of a run
    is the solution, so that there is no `timestep_spacing`.

    Args:
        table: the measured losses, a [`LossTable`] or its data.
        latent_cost: cost of a step that moves latents alone, where one that moves tokens costs 1. A number of steps is
            then what a run costs at most, and it may make more steps than that. `None`: the exact number of steps.
        budgets: numbers of steps that are solved, and thus checked, here; others are solved on demand.
        latent_solver, latent_renoising, latent_rescaling, unmasking, remasking, token_waiting, temperature,
            latent_temperature, noise_process, pad_token_id, tokenizer_size, latent_unpooling: as in [`LaddScheduler`];
            `unmasking` cannot be `first_hitting`, `threshold` or `entropy_bound`, which do not look at times. The bound
            that is the least is that of runs at temperature 1 in which no token waits.

    Raises `ValueError` for a table that is none or of other noise schedules, and for budgets that have no run.
    """

    NEEDED = ("table",)

    @register_to_config
    def __init__(
        self,
        table: LossTable | Mapping[str, Any] | None = None,
        latent_cost: float | None = None,
        budgets: Sequence[int] = (),
        latent_solver: str | None = None,
        latent_renoising: float = 0.0,
        latent_rescaling: str = "none",
        unmasking: Spec = "ancestral",
        remasking: Spec = "none",
        token_waiting: Spec = "none",
        temperature: float = 1.0,
        latent_temperature: float = 1.0,
        noise_process: NoiseProcess | Mapping[str, Any] | None = None,
        pad_token_id: int | None = None,
        tokenizer_size: int | None = None,
        latent_unpooling: Spec = "none",
    ) -> None:
        self.table = LossTable.parsed(table)  # type: ignore[arg-type]
        if latent_cost is not None:
            POSITIVE.check("latent_cost", latent_cost)
        self.register_to_config(table=self.table.data(), budgets=_checked(budgets))
        self._runs: dict[float, OptimalRuns] = {}  # by the time at which the latents start
        self._walk(SEQUENTIAL if self.table.latents_first else JOINT)
        if not self._unmasking.follows_times:
            raise ValueError(
                f"`unmasking` {self.config.unmasking!r} reveals as many tokens in each step, whatever its times: give "
                "'ancestral', or walk a path with `LaddScheduler`."
            )
        if noise_process is not None:
            self._check_noise()
        for budget in self.config.budgets:
            self.run(budget)

    def run(self, num_steps: int, latent_time: float = 1.0) -> list[Point]:
        """Returns the points (t_x, t_y) of the best run, first to last, as `nelbo(run=...)` takes them.

        `latent_time` is the time at which latents start. Raises `ValueError` for too few steps.
        """
        return self._solved(latent_time).run(num_steps)

    def bound(self, num_steps: int) -> RunBound:
        """Returns the bound of that run by the table; `model.nelbo(texts, run=scheduler.run(n))` estimates it anew.

        Of continuous latents that are not drawn from anchors it is none: what finer latents than the table's
        `latent_width` cost is not counted. It may lie below the texts' entropy, and compares runs only.
        """
        return self.table.bound(self.run(num_steps))

    def for_model(self, config: LaddConfig) -> LaddScheduler:
        """Extends `LaddScheduler.for_model`. Raises `ValueError` for a model with other noise schedules or latents than
        those of the table, as the constructor does."""
        if self.table.has_latents == (config.latent_type == "none"):
            tuned, given = ("with", "without") if self.table.has_latents else ("without", "with")
            raise ValueError(
                f"The schedule was tuned for a model {tuned} latents, but this one is {given} them: tune one for it "
                "with `tune_schedule`."
            )
        return super().for_model(config)

    def _solved(self, latent_time: float) -> OptimalRuns:
        start = latent_time if self.table.has_latents else 0.0
        if start not in self._runs:
            self._runs[start] = OptimalRuns(self.table.from_latent_time(start), self.config.latent_cost)
        return self._runs[start]

    def _points(self, num_steps: int, latent_time: float, num_tokens: int | None) -> list[Point]:
        return self.run(num_steps, latent_time)

    def _check_noise(self) -> None:
        """Raises `ValueError` unless the channels' progress, and what their steps cost, is the table's."""
        for name, axis, channel in (
            ("token", self.table.token_axis, self._tokens),
            ("latent", self.table.latent_axis, self._latents),
        ):
            if not _fits(axis, channel):
                raise ValueError(
                    f"The schedule was tuned for another `{name}_noise_schedule` than that of the noise process: tune "
                    "it again with `tune_schedule`."
                )
        if self._latents is not None and self._latents.has_rate == (self.table.latent_losses.ndim == 3):
            raise ValueError(
                "The schedule was tuned for latents of another `latent_prediction_type`, or by an earlier version for "
                "latents from anchors: tune it again with `tune_schedule`."
            )


def _fits(axis: TimeAxis, channel: Any) -> bool:
    """True if a channel has the axis's progress at its times; an axis of time 0 alone fits no latents."""
    if channel is None or len(axis.times) == 1:
        return channel is None and len(axis.times) == 1
    return axis.fits(channel)


def _checked(budgets: Any) -> list[int]:
    """Returns budgets as a list. Raises `ValueError` for anything but whole numbers of at least 1."""
    listed = isinstance(budgets, Sequence) and not isinstance(budgets, str)
    if not listed or not all(one in COUNT for one in budgets):
        raise ValueError(
            f"`budgets` is {list(budgets) if listed else described(budgets)}; give whole numbers of steps of at least "
            "1, such as [2, 4, 8]."
        )
    return [int(one) for one in budgets]
