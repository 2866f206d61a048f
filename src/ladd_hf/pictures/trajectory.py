"""A sample's way from masks to text: its tokens and latents after each step of a run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from ..diffusion.paths import Point

# In place of a step: of what a state shows as a mask, and of what was there from the start.
MASKED, GIVEN = -1, 0


@dataclass(frozen=True, eq=False)
class Trajectory:
    """States of a run of N steps, and the steps that wrote its tokens.

    Attributes:
        tokens: `(N + 1, B, S)` ids before the first step, and after each.
        times: N + 1 points (t_x, t_y) of these states.
        latents: `(N, B, M, D)` vectors or `(N, B, M)` codes after each step, `None` without latents.
        lengths: `(B,)` numbers of tokens of the texts, without what follows their end.
        mask_token_id: id of the mask token.
        code_mask_id: the masked code, `None` if latents are no codes.
        planned: points of the whole run, of which `times` are those it has come to; none if not known.
    """

    tokens: Tensor
    times: tuple[Point, ...]
    latents: Tensor | None
    lengths: Tensor
    mask_token_id: int
    code_mask_id: int | None = None
    planned: tuple[Point, ...] = ()

    @property
    def num_steps(self) -> int:
        """Number of steps N."""
        return len(self.tokens) - 1

    @property
    def run(self) -> tuple[Point, ...]:
        """Points (t_x, t_y) of the whole planned run, where known; steps not yet taken are included."""
        return self.planned or self.times

    @cached_property
    def steps(self) -> Tensor:
        """Steps, from 1 to N, that wrote what each state shows, `(N + 1, B, S)`; `GIVEN` for what was there from the
        start, `MASKED` for masks. A token that was remasked counts as written by the step that wrote it again."""
        return steps_of(self.tokens, self.mask_token_id)

    @property
    def written(self) -> Tensor:
        """Steps that wrote the final tokens, `(B, S)`; `GIVEN` for a prompt."""
        return self.steps[-1]

    @cached_property
    def codes(self) -> Tensor | None:
        """Codes before the first step and after each, `(N + 1, B, M)`; `None` if latents are no codes.

        Before the first step they are masked. In a run that starts from latents of its caller, those that are visible
        after its first step count as given.
        """
        if self.latents is None or self.code_mask_id is None:
            return None
        first = self.latents[:1]
        start = torch.full_like(first, self.code_mask_id) if self.times[0][1] == 1 else first
        return torch.cat([start, self.latents])

    @cached_property
    def code_steps(self) -> Tensor | None:
        """Steps that wrote the codes of each state, `(N + 1, B, M)`, as `steps` gives those of tokens."""
        return None if self.codes is None or self.code_mask_id is None else steps_of(self.codes, self.code_mask_id)


def steps_of(states: Tensor, mask_id: int) -> Tensor:
    """Returns the steps that wrote what each of `(N + 1, ...)` states shows, from 1; `GIVEN` and `MASKED`."""
    steps = torch.where(states[0] == mask_id, MASKED, GIVEN)
    found = [steps]
    for number in range(1, len(states)):
        steps = torch.where(states[number] != states[number - 1], number, steps)
        steps = torch.where(states[number] == mask_id, MASKED, steps)
        found.append(steps)
    return torch.stack(found)


class TrajectoryRecorder:
    """Callback of a pipeline's steps that keeps their states, of the latest run.

        recorder = TrajectoryRecorder()
        pipe(
            num_steps=8,
            callback_on_step_end=recorder,
            callback_on_step_end_tensor_inputs=recorder.tensor_inputs,
        )
        recorder.trajectory()

    A callback of your own may call it: `recorder(pipe, step, timestep, tensors)`. [`record`] does all of this.
    """

    tensor_inputs = ["tokens", "latents", "unmask"]

    def __init__(self) -> None:
        self._tokens: list[Tensor] = []
        self._latents: list[Tensor] = []
        self._times: tuple[Point, ...] = ()
        self._masks: tuple[int, int | None] = (0, None)

    def __call__(self, pipe: Any, index: int, timestep: int, tensors: Mapping[str, Tensor | None]) -> None:
        """Keeps the state after the step `index`. Raises `ValueError` if it is not given the three tensors."""
        if missing := [name for name in self.tensor_inputs if name not in tensors]:
            raise ValueError(
                f"The recorder is not given {missing}: pass `recorder.tensor_inputs` as "
                "`callback_on_step_end_tensor_inputs`."
            )
        tokens, latents, unmask = (_kept(tensors[name]) for name in self.tensor_inputs)
        assert tokens is not None and unmask is not None
        if index == 0:
            scheduler = pipe.running_scheduler
            process = scheduler.noise_process
            codes = process.codebook_size if process.latent_type == "discrete" else None
            self._masks = process.mask_token_id, codes
            # what the first step may write was masked before it; nothing else has changed
            self._tokens, self._latents = [torch.where(unmask, process.mask_token_id, tokens)], []
            times = (scheduler.token_times, scheduler.latent_times)
            self._times = tuple(zip(*(one.tolist() for one in times), strict=True))
        self._tokens.append(tokens)
        if latents is not None:
            self._latents.append(latents)

    def trajectory(self, lengths: Tensor | None = None) -> Trajectory:
        """Returns the states so far of the latest run.

        `lengths` are the numbers of tokens of its texts, `(B,)`, as the pipeline's output has them; all by default.
        Raises `ValueError` if no step was recorded.
        """
        if not self._tokens:
            raise ValueError("No step was recorded: give the recorder to a pipeline as `callback_on_step_end`.")
        tokens = torch.stack(self._tokens)
        whole = torch.full((tokens.shape[1],), tokens.shape[2])
        return Trajectory(
            tokens,
            self._times[: len(tokens)],
            torch.stack(self._latents) if self._latents else None,
            whole if lengths is None else lengths.cpu(),
            *self._masks,
            self._times,
        )


def record(pipeline: Any, **options: Any) -> tuple[Any, Trajectory]:
    """Runs a pipeline; returns its output and the trajectory.

    `options` are those of the pipeline's call. Raises `ValueError` for a callback among them.
    """
    if options.get("callback_on_step_end") is not None:
        raise ValueError(
            "`callback_on_step_end` is the recorder's here: call a `TrajectoryRecorder` within your own callback."
        )
    recorder = TrajectoryRecorder()
    recording = {"callback_on_step_end": recorder, "callback_on_step_end_tensor_inputs": recorder.tensor_inputs}
    output = pipeline(**{**options, **recording})
    return output, recorder.trajectory(output[-1] if isinstance(output, tuple) else output.lengths)


def _kept(tensor: Tensor | None) -> Tensor | None:
    return None if tensor is None else tensor.detach().to("cpu", copy=True)
