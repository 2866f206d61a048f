"""Settings of a run, to share: as options of a pipeline's call, and as a line of `ladd generate`."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from typing import Any

import torch

from ..diffusion.rng import RowGenerator
from ..pipelines.pipeline_ladd import LaddPipeline
from ..schedulers.rescheduled import rescheduled
from ..utils.number_ranges import COUNT, NOT_NEGATIVE, SEED
from .models import Models
from .reading import read_text

SAVED = "as saved"
# Path and waiting by the names that people read; `None` leaves them as they were saved.
SCHEDULES: dict[str, tuple[str | None, str | None]] = {
    SAVED: (None, None),
    "joint": ("joint", "none"),
    "joint, tokens wait for their latents": ("joint", "until_known"),
    "sequential": ("sequential", None),
}


@dataclass(frozen=True)
class Settings:
    """Settings of a run of one text.

    Attributes:
        prompt: beginning of the text, which may hold masks; none if empty.
        steps: evaluations of the denoiser.
        schedule: one of `SCHEDULES`.
        temperature, latent_temperature: the model's own if `None`.
        guidance: scale of the guidance on latents; 1 is none.
        length: tokens of the text; as in training if `None`.
        seed: the same one gives the same text, here and on the command line.
    """

    prompt: str = ""
    steps: int = 8
    schedule: str = SAVED
    temperature: float | None = None
    latent_temperature: float | None = None
    guidance: float = 1.0
    length: int | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        """Raises `ValueError` for a number out of its range, and for an unknown schedule."""
        COUNT.check("Evaluations", self.steps)
        SEED.check("The seed", self.seed)
        if self.length is not None:
            COUNT.check("The length", self.length)
        for name, value in (("temperature", self.temperature), ("latent temperature", self.latent_temperature)):
            if value is not None:
                NOT_NEGATIVE.check(f"The {name}", value)
        if self.schedule not in SCHEDULES:
            raise ValueError(f"There is no schedule {self.schedule!r}; choose one of {', '.join(SCHEDULES)}.")

    def scheduled(self, pipeline: LaddPipeline) -> LaddPipeline:
        """Returns a pipeline with the same model and tokenizer along this schedule; one without latents as it is."""
        if pipeline.model.config.latent_type == "none":
            return pipeline
        path, waiting = SCHEDULES[self.schedule]
        scheduler = rescheduled(pipeline.scheduler, path, **({} if waiting is None else {"token_waiting": waiting}))
        other = LaddPipeline(pipeline.model, scheduler, pipeline.tokenizer)
        other.set_progress_bar_config(disable=True)
        return other

    def options(self, pipeline: LaddPipeline, steps: int | None = None) -> dict[str, Any]:
        """Returns the options of a call, with another number of `steps` if given; a model without latents gets those
        of tokens alone. Raises `ValueError` for a prompt that it cannot read."""
        found: dict[str, Any] = {
            "num_steps": self.steps if steps is None else steps,
            "temperature": self.temperature,
            "generator": RowGenerator.from_seed(self.seed, torch.zeros(1, dtype=torch.int64, device=pipeline.device)),
        }
        if self.prompt:
            found["prompt"] = read_text(pipeline, self.prompt)
        if self.length is not None:
            found["length"] = self.length
        if pipeline.model.config.latent_type != "none":
            found |= {"latent_temperature": self.latent_temperature, "guidance_scale": self.guidance}
        return found

    def command(self, model: str, latents: bool = True, cpu: bool = False) -> str:
        """Returns the line of `ladd generate` that writes the same text with a model; with `latents=False` without the
        settings that a model without latents does not have."""
        path, waiting = SCHEDULES[self.schedule]
        of_latents: dict[str, Any] = {
            "schedule": path,
            "token-waiting": waiting,
            "latent-temperature": self.latent_temperature,
            "guidance": None if self.guidance == 1 else self.guidance,
        }
        flags: dict[str, Any] = {
            "steps": self.steps,
            **(of_latents if latents else {}),
            "temperature": self.temperature,
            "length": self.length,
            "seed": self.seed,
        }
        words = [word for name, value in flags.items() if value is not None for word in (f"--{name}", str(value))]
        words += ["--cpu"] if cpu else []
        if self.prompt.startswith("-"):  # a text like a flag
            return shlex.join(["ladd", "generate", model, *words, "--", self.prompt])
        return shlex.join(["ladd", "generate", model, *([self.prompt] if self.prompt else []), *words])


def command_of(models: Models, settings: Settings) -> str:
    """Returns the line of `ladd generate` for a page's model, or why there is none: it takes no ids for a text."""
    if settings.prompt and models.pipeline.tokenizer is None:
        return "(The command takes texts alone, and this model has no tokenizer: call the pipeline with these ids.)"
    return settings.command(models.name, models.latents != "none", models.cpu)
