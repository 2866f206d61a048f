"""Types of a call's options, for its overloads."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypedDict

from torch import Tensor

# Called with the pipeline, the step's number, its timestep and the tensors; diffusers' `PipelineCallback` is one.
StepCallback = Callable[[Any, int, int, dict[str, Any]], Mapping[str, Any] | None]


class CallOptions(TypedDict, total=False):
    """The options of a pipeline's call that are given by name; its docstring explains them."""

    temperature: float | None
    top_p: float
    guidance_scale: float
    latents: Tensor | None
    output_type: str | None
    callback_on_step_end: StepCallback | None
    callback_on_step_end_tensor_inputs: Sequence[str]
    num_inference_steps: int | None
    strength: float
    suppress_tokens: Sequence[int] | None
    logits_processor: Sequence[Any] | None
    stop_at_eos: bool | None
    skip_idle_rows: bool
    latent_temperature: float | None
    num_samples_per_prompt: int
    top_k: int | None
