"""Texts of a pipeline for `ladd generate`, `infill`, `vary` and `mix`: written, shown, or given as JSON."""

from __future__ import annotations

import secrets
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from ..diffusion.rng import RowGenerator
from ..pictures import TrajectoryRecorder, show
from ..pipelines.pipeline_ladd import LaddPipeline
from ..pipelines.text_reading import require_masks
from ..utils.number_ranges import COUNT, SEED_OF_64_BITS
from .command_line import check_flags, refuse, refusing
from .output import nothing_else, printable, say
from .pipelines import check_sampling, default_device, loaded_pipeline, quiet_libraries
from .readings import tell_readings

RANGES = {"num_samples": COUNT, "steps": COUNT, "length": COUNT, "top_k": COUNT, "seed": SEED_OF_64_BITS}


@dataclass
class Writing:
    """Options of everything that writes texts.

    Attributes:
        num_samples: of each text that is given, or in all.
        steps: evaluations of the denoiser; the pipeline's default if `None`.
        temperature, latent_temperature, schedule, token_waiting: the saved scheduler's own if `None`.
        top_p: nucleus of the tokens.
        top_k: number of likeliest tokens to draw from, or all.
        length: tokens of a text, as in training if `None`.
        guidance: scale of the guidance on latents; 1 is none.
        seed: drawn, and told, if `None`.
        watch: show the way of the first text from masks to words.
        json: print one JSON document.
        cpu: run on the CPU, even with an accelerator.
        dtype: of the weights.
    """

    num_samples: int = 1
    steps: int | None = None
    temperature: float | None = None
    latent_temperature: float | None = None
    top_p: float = 1.0
    top_k: int | None = None
    length: int | None = None
    guidance: float = 1.0
    seed: int | None = None
    schedule: str | None = None
    token_waiting: str | None = None
    watch: bool = False
    json: bool = False
    cpu: bool = False
    dtype: str = "float32"

    def __post_init__(self) -> None:
        check_flags(self, RANGES, dashes=True)
        check_sampling(self.schedule, self.token_waiting, self.dtype, dashes=True)
        if self.watch and self.json:
            refuse("--watch shows states to people, and --json is for programs: give one of the two.")
        if self.seed is None:
            self.seed = secrets.randbelow(2**32)


def generate(model: str, texts: Sequence[str] | None = None, **options: Any) -> None:
    """Writes samples: `num_samples` of each text, which begins them, or in all."""
    writing, texts = Writing(**options), texts or ()
    count = writing.num_samples
    prompts = [text for text in texts for _ in range(count)]

    def write(pipeline: LaddPipeline, common: dict[str, Any]) -> Any:
        return pipeline(prompts or None, batch_size=len(prompts) or count, **common)

    # as in a file of samples, number i is of text i modulo their number
    numbers = [row * max(len(texts), 1) + place for place in range(max(len(texts), 1)) for row in range(count)]
    _run(model, writing, write, numbers, texts, prompts)


def infill(model: str, text: str, **options: Any) -> None:
    """Writes the mask tokens of a text, and nothing else."""
    writing = Writing(**options)

    def write(pipeline: LaddPipeline, common: dict[str, Any]) -> Any:
        if pipeline.tokenizer is not None and pipeline.tokenizer.mask_token is not None:
            require_masks(text, pipeline.tokenizer.mask_token)
        return pipeline(text, batch_size=writing.num_samples, **{**common, "length": "prompt"})

    _run(model, writing, write, range(writing.num_samples), [text], [text] * writing.num_samples)


def vary(model: str, text: str, strength: float, **options: Any) -> None:
    """Writes texts from a text's latents, noised to the time `strength` and denoised."""
    writing = Writing(**options)
    if not 0 <= strength <= 1:
        refuse(
            f"--strength is {strength:g}; give a number from 0, which keeps the text's latents, to 1, which ignores "
            "them."
        )

    def write(pipeline: LaddPipeline, common: dict[str, Any]) -> Any:
        return pipeline.variations(text, strength, writing.num_samples, **common)

    _run(model, writing, write, range(writing.num_samples), [text], [text] * writing.num_samples)


def mix(model: str, first: str, second: str, **options: Any) -> None:
    """Writes texts from latents between those of two texts, the first ones first."""
    writing = Writing(**options)

    def write(pipeline: LaddPipeline, common: dict[str, Any]) -> Any:
        return pipeline.interpolate(first, second, writing.num_samples, **common)

    _run(model, writing, write, range(writing.num_samples), [first, second])


def _run(
    model: str,
    writing: Writing,
    write: Callable[[LaddPipeline, dict[str, Any]], Any],
    numbers: Sequence[int],
    texts: Sequence[str],
    prompts: Sequence[str] = (),
) -> None:
    """Loads the pipeline, lets `write` call it with the user's `texts`, and says what came of it; samples have these
    `numbers` and `prompts`, if any."""
    quiet_libraries()
    device = default_device(writing.cpu)
    recorder = TrajectoryRecorder() if writing.watch else None
    with refusing(ImportError), nothing_else(writing.json):
        pipeline = loaded_pipeline(model, device, writing.dtype, writing.schedule, writing.token_waiting)
        tell_readings(texts, pipeline.tokenizer)
        pipeline.set_progress_bar_config(disable=writing.watch or not sys.stderr.isatty(), leave=False)
        common: dict[str, Any] = {
            "num_steps": writing.steps,
            "generator": RowGenerator.from_seed(int(writing.seed or 0), torch.tensor([*numbers], device=device)),
            "temperature": writing.temperature,
            "latent_temperature": writing.latent_temperature,
            "top_p": writing.top_p,
            "top_k": writing.top_k,
            "guidance_scale": writing.guidance,
        }
        if writing.length is not None:
            common["length"] = writing.length
        if recorder is not None:
            common["callback_on_step_end"] = recorder
            common["callback_on_step_end_tensor_inputs"] = recorder.tensor_inputs
        output = write(pipeline, common)
    if recorder is not None:
        show(recorder.trajectory(output.lengths), pipeline.tokenizer)
    samples = _samples(output, prompts)
    told = [printable(one["text"]) if "text" in one else " ".join(map(str, one["ids"])) for one in samples]
    lines = told if len(told) == 1 else [f"{number}  {text}" for number, text in enumerate(told, 1)]
    say({"model": model, "seed": writing.seed, "nfe": output.nfe, "samples": samples}, lines, writing.json)
    if not writing.json:  # beside the texts, which alone go into a file
        print(f"({output.nfe} evaluations each, seed {writing.seed})", file=sys.stderr)


def _samples(output: Any, prompts: Sequence[str]) -> list[dict[str, Any]]:
    """Returns each row as data: its prompt, if any, and its text, or ids where there is no tokenizer."""
    samples: list[dict[str, Any]] = []
    for row in range(len(output.sequences)):
        one: dict[str, Any] = {"prompt": prompts[row]} if prompts else {}
        if output.texts is None:
            one["ids"] = output.sequences[row, : output.lengths[row]].tolist()
        else:
            one["text"] = output.texts[row]
        samples.append(one)
    return samples
