"""A run as it goes on: its states so far, after each step."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator
from typing import Any

from ..pictures.trajectory import Trajectory, TrajectoryRecorder
from ..pipelines.pipeline_ladd import LaddPipeline


def states(pipeline: LaddPipeline, **options: Any) -> Iterator[Trajectory]:
    """Yields the trajectory so far after each step of a call of `pipeline`, which runs in a thread of its own.

    `options` are those of the call. If the run ended its texts, the last state is followed by one with their lengths. A
    generator that is closed ends the run. Raises what the call raises.
    """
    mail: queue.SimpleQueue[Trajectory | BaseException | None] = queue.SimpleQueue()
    closed = threading.Event()
    recorder = TrajectoryRecorder()

    def after_step(pipe: Any, index: int, timestep: int, tensors: dict[str, Any]) -> dict[str, Any]:
        recorder(pipe, index, timestep, tensors)
        mail.put(recorder.trajectory())
        if closed.is_set():
            pipe._interrupt = True
        return {}

    def run() -> None:
        asked = recorder.tensor_inputs
        try:
            output = pipeline(
                **options, callback_on_step_end=after_step, callback_on_step_end_tensor_inputs=asked, return_dict=True
            )
            done = recorder.trajectory(output.lengths)
            if (done.lengths < done.tokens.shape[2]).any():
                mail.put(done)
            mail.put(None)
        except BaseException as error:  # whatever it is, the thread that waits has to know of it
            mail.put(error)

    threading.Thread(target=run, daemon=True).start()
    try:
        while (state := mail.get()) is not None:
            if isinstance(state, BaseException):
                raise state
            yield state
    finally:
        closed.set()
