"""The stages of a run: how many steps train the tokens alone, stage 1, and the rise of the latents' weight."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from ..utils.number_ranges import NumberRange

# Arguments that count steps of a stage, or are a share of the run.
STAGE_LENGTHS = ("mdlm_steps", "stage_1_steps", "latent_warmup_steps")


@dataclass(frozen=True)
class Stages:
    """Numbers of steps, in their order: `mdlm_steps` of the tokens alone, then `stage_1_steps`, then stage 2; or, with
    `stage_1_steps` of 0, one stage, at whose beginning w_y rises over `latent_warmup_steps`."""

    mdlm_steps: int = 0
    stage_1_steps: int = 0
    latent_warmup_steps: int = 0

    @property
    def starts(self) -> tuple[int, int, int]:
        """The first steps of the MDLM, of stage 1 and of stage 2."""
        return 0, self.mdlm_steps, self.mdlm_steps + self.stage_1_steps

    def present(self) -> dict[str, int]:
        """The first step of each stage that there is, by its name."""
        names = ("the tokens alone", "stage 1", "stage 2" if self.stage_1_steps else "one stage")
        lengths = (self.mdlm_steps, self.stage_1_steps, 1)
        return {name: start for name, start, steps in zip(names, self.starts, lengths, strict=True) if steps}

    def in_stage_1(self, step: int) -> bool:
        """Whether step number `step`, from 0, belongs to stage 1."""
        return self.mdlm_steps <= step < self.mdlm_steps + self.stage_1_steps

    def in_stage_2(self, step: int) -> bool:
        """Whether step number `step`, from 0, belongs to stage 2."""
        return self.stage_1_steps > 0 and step >= self.mdlm_steps + self.stage_1_steps


class _StepsOrShare(NumberRange):
    """Whole numbers of steps, and shares of the run between 0 and 1."""

    def __contains__(self, value: Any) -> bool:
        return super().__contains__(value) and (value < 1 or float(value).is_integer())


STEPS_OR_SHARE = _StepsOrShare("a number of steps, or a share of the run above 0 and below 1, or 0 for none", least=0)


def is_share(value: float) -> bool:
    """Whether a length is a share of the run, and not a number of steps."""
    return 0 < value < 1


def steps_of(value: float, num_steps: int) -> int:
    """A length in steps of a run of `num_steps`: of a share the nearest number, and 1 at least."""
    return max(1, math.floor(value * num_steps + 0.5)) if is_share(value) else int(value)
