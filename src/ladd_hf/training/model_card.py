"""Model cards written from a run: data, method, settings and results."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from huggingface_hub import EvalResult, ModelCard, ModelCardData

TEMPLATE = Path(__file__).with_name("model_card_template.md")
TAGS = ("ladd", "masked-diffusion", "diffusion-language-model")
METHODS = {"none": "MDLM", "continuous": "Co-LADD", "discrete": "Di-LADD"}
TASK = "text-generation"


@dataclass(frozen=True)
class Conditions:
    """Conditions of a measurement, without which a number has no meaning."""

    dataset: str
    dtype: str
    seed: int
    hardware: str

    def __str__(self) -> str:
        return f"{self.dataset}; {self.dtype}, seed {self.seed}, {self.hardware}"


@dataclass(frozen=True)
class ScoresBeside:
    """A further score of the same samples, shown beside the main one.

    Attributes:
        name: short name in a table, such as `entropy`.
        metric: full name, such as `unigram entropy in nats`.
        scores: for each schedule, the score at each number of evaluations.
        floor: score of the data itself, if known.
        better: the better direction, `lower` or `higher`; `None` if neither is better by itself.
        errors: standard errors of the scores, where they are known.
        floor_error: standard error of the floor, if it is known and not 0.
    """

    name: str
    metric: str
    scores: Mapping[str, Mapping[int, float]]
    floor: float | None = None
    better: str | None = None
    errors: Mapping[str, Mapping[int, float]] = field(default_factory=dict)
    floor_error: float | None = None

    @property
    def label(self) -> str:
        """Name with the better direction."""
        return self.name if self.better is None else f"{self.name} ({self.better} is better)"


@dataclass(frozen=True)
class Temperatures:
    """Sampling temperatures of tokens, and of codes or anchors."""

    tokens: float = 1.0
    latents: float = 1.0

    def __str__(self) -> str:
        return f"{self.tokens}" + ("" if self.latents == 1 else f", {self.latents} of latents")

    def data(self) -> dict[str, float]:
        """Returns them as metadata; those of the latents, where they are not 1."""
        return {"temperature": self.tokens} | ({} if self.latents == 1 else {"latent_temperature": self.latents})


@dataclass(frozen=True)
class SampleScores:
    """Scores of samples by inference schedule and number of denoiser evaluations.

    Attributes:
        scores: for each schedule, the score at each number of evaluations.
        metric: name of the score, such as `nats per token`.
        measure: definition of the score, in a sentence.
        conditions: dataset, dtype, seed and hardware.
        num_samples: number of samples for each score.
        temperatures: those of the samples, or of each schedule's; 1 if not given.
        floor: score of the data itself, if known.
        beside: further scores of these samples.
        exact: True if they are scored under the exact distribution of the data, so that the floor is its entropy.
        step: training step of the weights that generated them; if given, scores of other weights are rejected.
        errors: standard errors of the scores, where they are known.
        floor_error: standard error of the floor, if it is known and not 0.
    """

    scores: Mapping[str, Mapping[int, float]]
    metric: str
    measure: str
    conditions: Conditions
    num_samples: int
    temperatures: Temperatures | Mapping[str, Temperatures] = Temperatures()
    floor: float | None = None
    beside: Sequence[ScoresBeside] = ()
    exact: bool = True
    step: int | None = None
    errors: Mapping[str, Mapping[int, float]] = field(default_factory=dict)
    floor_error: float | None = None

    @property
    def budgets(self) -> list[int]:
        """All numbers of evaluations for which there are scores."""
        return sorted({budget for scores in self.scores.values() for budget in scores})

    def rows(self) -> dict[str, list[str]]:
        """Returns the cells of the table, one for each of `budgets`, by schedule."""
        tables = {label: (values, self.errors.get(label, {})) for label, values in self.scores.items()}
        for one in self.beside:
            tables |= {
                f"{label}, {one.label}": (values, one.errors.get(label, {})) for label, values in one.scores.items()
            }
        return {
            label: [_cell(values.get(n), errors.get(n)) for n in self.budgets]
            for label, (values, errors) in tables.items()
        }

    def temperatures_of(self, schedule: str) -> Temperatures:
        """Returns those of a schedule's samples."""
        given = self.temperatures
        return given if isinstance(given, Temperatures) else given.get(schedule, Temperatures())

    @property
    def described_temperatures(self) -> str:
        """All temperatures, with the schedules that have them if these differ."""
        named: dict[Temperatures, list[str]] = {}
        for schedule in self.scores:
            named.setdefault(self.temperatures_of(schedule), []).append(schedule)
        if len(named) == 1:
            return str(next(iter(named)))
        return "; ".join(f"{one} ({', '.join(schedules)})" for one, schedules in named.items())

    def results(self) -> list[EvalResult]:
        """Returns the scores as metadata for the Hub."""
        tables: list[SampleScores | ScoresBeside] = [self, *self.beside]
        found = []
        for one in tables:
            for label, scores in one.scores.items():
                shared = {**self.temperatures_of(label).data(), "num_samples": self.num_samples}
                for n, score in scores.items():
                    error = one.errors.get(label, {}).get(n)
                    settings = {"num_steps": n, **shared} | ({} if error is None else {"stderr": error})
                    found.append(_result(self.conditions, one.metric, f"{label}, num_steps={n}", score, settings))
        return found


@dataclass(frozen=True)
class HeldOutBounds:
    """Nats per token of held-out texts along paths of the two times.

    Attributes:
        nats: by path, the parts of tokens and of latents.
        is_bound: true if their sum bounds the texts' negative log-likelihood, which it does not for continuous latents.
        step: training step after which they were measured.
        conditions: dataset, dtype, seed and hardware.
        trained_steps: number of training steps of the card's weights, if other weights were measured.
        unit: name of the sum.
        held_out: true if the texts were not trained on.
        marginal: by path, the bound with latents averaged out and its standard error.
        marginal_of: the proposals and the run of that bound, in words.
    """

    nats: Mapping[str, tuple[float, float]]
    is_bound: bool
    step: int
    conditions: Conditions
    trained_steps: int | None = None
    unit: str = ""
    held_out: bool = True
    marginal: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    marginal_of: str = ""

    def __post_init__(self) -> None:
        default = "bound on nats per token" if self.is_bound else "nats per token, relative to the smallest noise"
        object.__setattr__(self, "unit", self.unit or default)

    def results(self) -> list[EvalResult]:
        """Returns the sums as metadata for the Hub; empty if they were measured on other weights than the card's."""
        if self.trained_steps is not None:
            return []
        settings = {"step": self.step}
        return [
            _result(self.conditions, self.unit, f"{path} path", sum(parts), settings)
            for path, parts in self.nats.items()
        ]


@dataclass(frozen=True)
class Recipe:
    """The facts needed to judge or to repeat a training run.

    Attributes:
        method: `MDLM`, `Co-LADD` or `Di-LADD`.
        data: the training data.
        facts: names and values of everything else: sizes, tokenizer, steps, EMA, dtype, seed, hardware, versions.
        command: the training command.
        caution: a warning to be shown first, if any.
    """

    method: str
    data: str
    facts: Mapping[str, Any] = field(default_factory=dict)
    command: str = ""
    caution: str = ""


def model_card(
    name: str,
    recipe: Recipe,
    samples: SampleScores | None = None,
    bounds: HeldOutBounds | Sequence[HeldOutBounds] | None = None,
    repository: str = "user/model",
    num_steps: int = 8,
    text: bool = False,
    tags: Sequence[str] = (),
    metadata: Mapping[str, Any] | None = None,
    adapter_of: str | None = None,
) -> ModelCard:
    """Returns a card for a trained pipeline.

    Args:
        name: of the model.
        recipe: its training.
        samples, bounds: its results; bounds of one data set, or of several.
        repository: its name on the Hub, or its folder, for the usage example.
        num_steps: evaluations in the usage example.
        text: true if the pipeline has a tokenizer, and so generates text.
        tags: more tags for the metadata.
        metadata: further metadata, such as `language`, `datasets` or `license`, which have no default: the owner
            chooses them.
        adapter_of: the pipeline that it is an adapter for, if any.
    """
    tables = [bounds] if isinstance(bounds, HeldOutBounds) else list(bounds or [])
    results = [*(samples.results() if samples else []), *(result for one in tables for result in one.results())]
    data: dict[str, Any] = {"library_name": "diffusers", "pipeline_tag": TASK}
    data |= {**(metadata or {}), "tags": list(dict.fromkeys([*TAGS, *tags]))}
    if adapter_of is not None:
        data = {**data, "library_name": "peft", "base_model": adapter_of}
    if results:
        data |= {"model_name": name, "eval_results": results}
    return ModelCard.from_template(
        ModelCardData(**data),
        template_path=str(TEMPLATE),
        name=name,
        recipe=recipe,
        samples=samples,
        floor=_cell(samples.floor, samples.floor_error) if samples and samples.floor is not None else None,
        floors_beside=[(one.name, _cell(one.floor, one.floor_error)) for one in samples.beside if one.floor is not None]
        if samples
        else [],
        bounds=tables,
        held_out=all(one.held_out for one in tables),
        repository=repository,
        adapter_of=adapter_of,
        num_steps=num_steps,
        output="texts" if text else "sequences",
        markdown=markdown,
        python=partial(json.dumps, ensure_ascii=False),
        fence="`" * (1 + max([2, *map(len, re.findall("`+", recipe.command))])),
    )


def markdown(text: Any) -> str:
    """Escapes text so that Markdown shows it unchanged, in a heading, a line or a cell of a table."""
    line = re.sub(r"([\\`*\[\]<>|])", r"\\\1", " ".join(str(text).split()))
    line = re.sub(r"(?<![^\W_])_|_(?![^\W_])", r"\\_", line)  # no emphasis inside a word
    return re.sub(r"^(\d*)([#+.)-])(?=[#\s]|$)", r"\1\\\2", line)  # at a line's start: no heading, no list


def _result(conditions: Conditions, metric: str, name: str, value: float, settings: Mapping[str, Any]) -> EvalResult:
    slug = re.sub(r"\W+", "-", conditions.dataset.lower()).strip("-")
    return EvalResult(
        task_type=TASK,
        dataset_type=slug,
        dataset_name=conditions.dataset,
        metric_type=re.sub(r"\W+", "_", metric.lower()).strip("_"),
        metric_name=f"{metric} ({name})",
        metric_value=value,
        metric_args={
            **settings,
            "dtype": conditions.dtype,
            "seed": conditions.seed,
            "hardware": conditions.hardware,
        },
    )


def _cell(value: float | None, error: float | None = None) -> str:
    return "" if value is None else with_error(value, error)


def with_error(value: float, error: float | None, digits: int = 4) -> str:
    """Formats a score with its standard error, if that is known and not 0, as of an exact number: `1.2345±0.0067`."""
    return f"{value:.{digits}f}" + (f"±{error:.{digits}f}" if error else "")
