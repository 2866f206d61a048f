"""The stages of a run as data: each one's length, objective, fixed parts and starting point. Section 6.

A run without stages trains one objective from its first step to its last. With them, each stage has the run's
objective with some settings of its own. The paper's two are `encoder` and `prior`; `mdlm` before them, and
`consistency` and `meanflow` after them are ours.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any

from ..diffusion.objective import OBJECTIVE_RANGES, TrainingObjective
from ..diffusion.time_sampling import distribution_data
from ..models.configuration_ladd import LaddConfig
from ..models.encoders.encoder_options import PretrainedOptions
from ..utils.number_ranges import NOT_NEGATIVE, POSITIVE, SHARE, whole
from ..utils.registry import Registry
from ..utils.wrong_objects import described
from .stage_lengths import STEPS_OR_SHARE

# Parts of a model that a stage may fix, and those that may start from their averaged weights.
_FREEZABLE = ("encoder",)
_AVERAGED = ("encoder", "model")
# The settings of the objective and their defaults.
SETTINGS = {f.name: f.default for f in fields(TrainingObjective)}
# Those of a recommended stage `encoder`, and those of its stage `prior`; see docs/ablations.md.
_OF_THE_ENCODER, _OF_CODES = {"fully_masked_share": 0.6}, {"quantizer_dropout": 0.5}
_OF_THE_PRIOR = {"fully_masked_share": 0.75}  # latents are drawn before any token is seen
_ENOUGH = 300  # steps, after which an encoder was seen to tell texts apart
_RUN = whole(3, "a number of steps of at least 3, one for each stage")


@dataclass(frozen=True)
class Ramp:
    """A factor for a setting of the objective that changes linearly from the beginning of a stage.

    Attributes:
        start, end: the first and the last factor.
        steps: length in steps, or a share of the run if below 1; by default the whole stage.
        delay: share of the length before the change begins, at `start`.
    """

    start: float = 0.0
    end: float = 1.0
    steps: float | None = None
    delay: float = 0.0

    def __post_init__(self) -> None:
        for name in ("start", "end"):
            NOT_NEGATIVE.check(name, getattr(self, name))
        if self.steps is not None:
            STEPS_OR_SHARE.check("steps", self.steps)
        SHARE.check("delay", self.delay)

    def factor(self, step: int, steps: int) -> float:
        """Returns the factor at a step of the stage, from 0, for a ramp of `length` steps."""
        delay = self.delay * steps
        passed = min(max((step - delay) / max(steps - delay, 1), 0.0), 1.0)
        return self.start + (self.end - self.start) * passed


@dataclass(frozen=True)
class Stage:
    """A stage of a run. Omitted fields default to those of the named stage in [`STAGES`].

    Attributes:
        name: `mdlm` (the tokens alone), `encoder` (the paper's stage 1: latents and tokens, no prior), `prior` (its
            stage 2: tokens and latents, the encoder fixed), `joint` (all at once), `consistency` (as `prior`, with the
            consistency term), `meanflow` (as `prior`, with latents that jump), or a registered one.
        steps: length in steps, or a share of the run if below 1. The last stage has none and lasts to the end.
        epochs: length in passes over the data, instead of `steps`.
        objective: settings of the objective that replace those of the run.
        ramps: [`Ramp`]s of numeric settings of the objective.
        freeze: parts that are fixed: `encoder`.
        from_average: parts that start from their averaged weights: `encoder`, or the whole `model`.
        restart_average: restart the EMA at the beginning of the stage, for the parts that it trains.

    Raises `ValueError` for invalid values.
    """

    name: str
    steps: float | None = None
    epochs: float | None = None
    objective: Mapping[str, Any] = field(default_factory=dict)
    ramps: Mapping[str, Ramp] = field(default_factory=dict)
    freeze: tuple[str, ...] | None = None
    from_average: tuple[str, ...] | None = None
    restart_average: bool | None = None

    def __post_init__(self) -> None:
        if self.steps is not None:
            STEPS_OR_SHARE.check("steps", self.steps)
        if self.epochs is not None:
            POSITIVE.check("epochs", self.epochs)
        if None not in (self.steps, self.epochs):
            raise ValueError(f"`steps` is {self.steps:g} and `epochs` {self.epochs:g}: give one of the two.")
        for name, accepted in (("objective", SETTINGS), ("ramps", OBJECTIVE_RANGES)):
            check_names(name, getattr(self, name), accepted)
        objective = dict(self.objective)
        if "time_distribution" in objective:
            objective["time_distribution"] = distribution_data(objective["time_distribution"])
        object.__setattr__(self, "objective", objective)
        object.__setattr__(self, "ramps", {name: _ramp(name, one) for name, one in self.ramps.items()})
        for name, parts in (("freeze", _FREEZABLE), ("from_average", _AVERAGED)):
            object.__setattr__(self, name, _parts(name, getattr(self, name), parts))
        if not isinstance(self.restart_average, bool | None):
            raise ValueError(f"`restart_average` is {described(self.restart_average)}; give true or false.")

    @classmethod
    def recommended(cls, config: LaddConfig, max_steps: int) -> list[Stage]:
        """Returns stages with which latents were seen to learn in short runs; see docs/ablations.md. Ours.

        First an MDLM (a third of the run), then the encoder (a tenth, or up to 300 steps of a short run), then the
        prior. Without latents there are none. Continuous latents cut from a fixed encoder's states, of which nothing is
        to be learnt, have no stage `encoder`.

        Args:
            config: of the model, such as [`LaddConfig.recommended`] returns.
            max_steps: of the run, at least 3.

        Raises `ValueError` for another kind of configuration, and for a shorter run.
        """
        if not isinstance(config, LaddConfig):
            raise ValueError(f"`config` is {described(config)}; give a `LaddConfig`, such as a model's `config`.")
        _RUN.check("max_steps", max_steps)
        if config.latent_type == "none":
            return []
        options, discrete = config.encoder_options, config.latent_type == "discrete"
        stages = [cls("mdlm", steps=max_steps // 3)]
        fixed = isinstance(options, PretrainedOptions) and not options.trained and options.projection == "cut"
        if discrete or not fixed:
            steps = max(max_steps // 10, min(_ENOUGH, max_steps // 3))
            stages.append(cls("encoder", steps=steps, objective=_OF_THE_ENCODER | (_OF_CODES if discrete else {})))
        return [*stages, cls("prior", objective=_OF_THE_PRIOR)]

    def complete(self) -> Stage:
        """Fills in omitted fields from the named stage. Raises `ValueError` for an unknown name."""
        named = STAGES[self.name]
        rest = {
            name: getattr(named, name)
            for name in ("freeze", "from_average", "restart_average")
            if getattr(self, name) is None
        }
        return replace(
            self, objective={**named.objective, **self.objective}, ramps={**named.ramps, **self.ramps}, **rest
        )

    def as_data(self) -> dict[str, Any]:
        """Returns the fields that were given, for JSON and YAML."""
        data = {name: value for name, value in asdict(self).items() if value is not None and value != {}}
        return {name: list(value) if isinstance(value, tuple) else value for name, value in data.items()}


STAGES: Registry[Stage] = Registry(
    "stage",
    modules=dict.fromkeys(("mdlm", "encoder", "prior", "joint", "consistency", "meanflow"), "named_stages"),
    package=__package__,
)


def register_stage(stage: Stage) -> Stage:
    """Registers a stage by its name. Raises `ValueError` for a name that is taken."""
    return STAGES.register(stage.name, stage)


def _ramp(name: str, given: Any) -> Ramp:
    if isinstance(given, Ramp):
        return given
    check_names(f"ramps[{name!r}]", given, [f.name for f in fields(Ramp)])
    return Ramp(**given)


def check_names(name: str, given: Any, accepted: Iterable[str]) -> None:
    """Raises `ValueError` unless it is a mapping of accepted names."""
    if not isinstance(given, Mapping):
        raise ValueError(f"`{name}` is {described(given)}; give a mapping of names to values.")
    if unknown := [one for one in given if one not in accepted]:
        raise ValueError(f"`{name}` has the unknown {unknown[0]!r}; give some of {sorted(accepted)}.")


def _parts(name: str, given: Any, accepted: tuple[str, ...]) -> tuple[str, ...] | None:
    """Returns names of parts. Raises `ValueError` for names that are not accepted."""
    if given is None:
        return None
    listed = isinstance(given, list | tuple)
    if wrong := [one for one in (given if listed else [given]) if not listed or one not in accepted]:
        raise ValueError(f"`{name}` holds {described(wrong[0])}; give a list of {list(accepted)}.")
    return tuple(given)
