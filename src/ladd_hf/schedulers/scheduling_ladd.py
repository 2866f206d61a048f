"""The scheduler of any path of the time square: its options, and the objects that they name."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from diffusers import ConfigMixin, SchedulerMixin
from diffusers.configuration_utils import register_to_config

from ..diffusion.gaussian import LATENT_SOLVERS
from ..diffusion.paths import (
    TIMESTEP_SPACINGS,
    PathSpec,
    TimePath,
    path_data,
    shared_steps,
    time_path,
)
from ..diffusion.process import NoiseProcess
from ..diffusion.token_waiting import Waiting
from ..models.chunks import parsed_unpooling, unpooling_spec
from ..models.configuration_ladd import LaddConfig
from ..models.vocabulary import Vocabulary, unwritten_padding
from ..utils.number_ranges import COUNT, COUNT_OR_ZERO, POSITIVE, SHARE, check_ranges
from ..utils.plain_data import plain
from ..utils.registry import Spec
from ..utils.wrong_objects import described
from .latent_rescaling import check_rescaling, rescale
from .noise_adding import NoiseAdding
from .remasking import remasking
from .renamed_settings import with_current_names
from .reverse_step import ReverseStep
from .run_law import RunLaw
from .time_grid import TimeGrid
from .unmasking import unmasking

# Ranges of the numeric options; `NoiseProcess` checks its own.
ID_RANGES = {"pad_token_id": COUNT_OR_ZERO, "tokenizer_size": COUNT}
RENOISING_RANGES = {"latent_renoising": SHARE}


class LaddScheduler(RunLaw, TimeGrid, ReverseStep, NoiseAdding, SchedulerMixin, ConfigMixin):
    """Walks any path of the time square, from (1, 1) to (0, 0).

    The step from (t_x, t_y) to (s_x, s_y) reveals each masked token with probability
    (alpha(s_x) - alpha(t_x)) / (1 - alpha(t_x)), drawn from the denoiser, does the same with latent codes, and moves
    continuous latents by the chosen solver. The last step reveals all masked tokens. Paper, sections 2, 3 and 8.

    Args:
        path: a name (`joint`, `sequential`), corners such as `[[1, 1], [1, 0.3], [0, 0]]`, or a [`TimePath`]; neither
            time rises along it.
        steps: weights by which the path's legs share a run's evaluations, at least one each; equal by default.
        timestep_spacing: `uniform` or `cosine` grid of times on each leg.
        latent_solver: `ddim` or `ddpm`, the reverse step of continuous latents; by default the one that suits their
            prediction: `ddpm` for anchors, otherwise `ddim`. A model with `latent_flow_map` gets the end of each
            `ddim` step as an input.
        latent_renoising: share of the noise that each step of continuous latents draws anew, from 0 to 1: the solver
            goes on to less noise, sqrt(1 - share^2) of the step's end, and fresh noise leads back. At 1 it goes to the
            predicted y_0. In the last step, which ends there, nothing is drawn.
        latent_rescaling: `none`, or the model's `latent_normalization`, `l2` or `unit`: each predicted y_0 of a
            regression is scaled to that length before a step.
        unmasking: selection of the tokens that a step reveals: `ancestral` (the model's own law), `first_hitting` (an
            equal number at random positions), by confidence (`top_probability`, `margin` or `entropy`), or as many as
            the denoiser is sure of: `{"name": "threshold", "threshold": p}`, `{"name": "entropy_bound", "gamma": g}`.
        remasking: `none`, or `{"name": "cap", "rate": eta}` or `{"name": "rescale", "rate": eta}` to remask visible
            tokens (ReMDM).
        token_waiting: `none`, or `while_written`: a token stays masked in the step that makes its latent known, which
            would otherwise draw the two independently; or `until_known`: it also stays masked before that. In the last
            step that moves tokens none waits.
        temperature, latent_temperature: divide the logits of tokens, and of codes or anchors, before they are drawn; 1
            is the model's own law, 0 takes the most likely. A call's own temperatures replace them.
        noise_process: a [`NoiseProcess`] or a mapping of its fields; a pipeline sets its model's.
        pad_token_id, tokenizer_size: the padding token and all ids from `tokenizer_size` up are never written; a
            pipeline sets its model's.
        latent_unpooling: `chunk` if a token belongs to the latent of its chunk, and waits for that alone, or with
            `global_latents` (`{"name": "chunk", "global_latents": 2}`) for those of the whole text, too; `none` if it
            reads all latents, and waits for each of them. A pipeline sets its model's.

    Every option with named choices has a public `register_*` function. Raises `ValueError` for invalid options.
    """

    order = 1
    # set from the model's configuration
    OF_THE_MODEL = ("noise_process", "pad_token_id", "tokenizer_size", "latent_unpooling")
    NEEDED: tuple[str, ...] = ()  # options without which there is no scheduler
    _leg_weights: list[float] | None = None

    @register_to_config
    def __init__(
        self,
        path: PathSpec = "joint",
        steps: Sequence[float] | None = None,
        timestep_spacing: str = "uniform",
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
        walked = time_path(path)
        self._leg_weights = None if steps is None else leg_weights(steps, walked)
        self._walk(walked)

    def _walk(self, path: TimePath) -> None:
        """Sets the path and builds the objects named by the options; called last in each subclass's `__init__`."""
        if path.vertices[0] != (1, 1):
            raise ValueError(
                f"`path` starts at {path.vertices[0]}; give one from (1, 1), where tokens and latents are noise: for "
                "`latents` that are given, a run starts it where they are."
            )
        self._path = path
        check_ranges(self.config, ID_RANGES, optional=ID_RANGES)
        self.noise_process = NoiseProcess.parsed(self.config.noise_process)
        saved = {name: plain(value) for name, value in self.config.items() if not name.startswith("_")}
        saved |= {"path": path_data(path), "steps": self._leg_weights, "noise_process": self.noise_process.data()}
        # options given by position are taken for defaults, which `from_config` drops, as of diffusers 0.42.1
        # (huggingface/diffusers#14460)
        self.register_to_config(**saved, _use_default_values=[])
        if self.config.latent_solver is not None:  # both lookups raise for an unknown name
            LATENT_SOLVERS[self.config.latent_solver]
        TIMESTEP_SPACINGS[self._spacing]
        self._tokens = self.noise_process.token_channel()
        check_ranges(self.config, RENOISING_RANGES)
        renoising = self.config.latent_renoising
        self._latents = self.noise_process.latent_channel(self.config.latent_solver, renoising)
        rescale(self._latents, self.config.latent_rescaling)
        ids = self.noise_process.mask_token_id, self.config.pad_token_id, self.config.tokenizer_size
        self._vocabulary = Vocabulary(*ids)
        self._unmasking = unmasking(self.config.unmasking)
        self._remasking = remasking(self.config.remasking, self._unmasking)
        self._waiting = Waiting.of(self.config.token_waiting)
        self._token_sampler, self._latent_sampler = self.token_sampler(), self.latent_sampler()
        parsed_unpooling(self.config.latent_unpooling)  # raises for anything else
        self.num_inference_steps = None
        self.timesteps = torch.arange(0)
        self._grid, self._token_steps = [], []
        self.token_times = self.latent_times = torch.zeros(0)

    @property
    def _spacing(self) -> str:
        spacing: str = self.config.get("timestep_spacing", "uniform")  # not of a scheduler that solves for its times
        return spacing

    @property
    def path(self) -> TimePath:
        """The path of runs that generate latents."""
        return self._path

    @property
    def steps_depend_on_lengths(self) -> bool:
        """True if a run makes fewer evaluations than asked for where its texts have fewer tokens (`first_hitting`)."""
        return self._unmasking.one_evaluation_per_token

    def steps_per_leg(self, num_steps: int) -> list[int]:
        """Divides `num_steps` evaluations among the path's legs. Raises `ValueError` for too few."""
        return shared_steps(num_steps, self._leg_weights or [1.0] * len(self.path.legs))

    @property
    def compatibles(self) -> list[type[LaddScheduler]]:
        """Classes of schedulers that can be built from this one's configuration."""
        return [one for one in self._get_compatibles() if all(self.config.get(name) for name in one.NEEDED)]

    @classmethod
    def _get_compatibles(cls) -> list[type[LaddScheduler]]:
        """Returns all path schedulers, so that `from_config` keeps the options of one across a switch to another."""
        return [LaddScheduler, *_subclasses(LaddScheduler)]

    @classmethod
    def from_config(cls, config: Any = None, return_unused_kwargs: bool = False, **kwargs: Any) -> Any:
        """Builds a scheduler from a configuration, including one saved with former option names.

        A new `path` does not keep the `steps` of the old one.
        """
        if "path" in kwargs:
            kwargs.setdefault("steps", None)
        current = with_current_names(config) if isinstance(config, Mapping) else config
        if isinstance(current, dict) and "path" not in cls._get_init_keys(cls):  # one of a path of its own
            current = {name: value for name, value in current.items() if name not in ("path", "steps")}
        return super().from_config(current, return_unused_kwargs, **kwargs)

    @classmethod
    def options_of(cls, config: LaddConfig) -> dict[str, Any]:
        """Returns the scheduler options that are set by a model's configuration."""
        return {
            "noise_process": NoiseProcess.of(config).data(),
            "pad_token_id": unwritten_padding(config),
            "tokenizer_size": getattr(config, "tokenizer_size", None),
            "latent_unpooling": unpooling_spec(config),
        }

    def for_model(self, config: LaddConfig) -> LaddScheduler:
        """Returns this scheduler, or a copy with the model's noise process and ids if they differ.

        Raises `ValueError` if its `unmasking` or `token_waiting` does not suit a model conditioned on t_x, and if its
        `latent_rescaling` is not the length of the model's latents.
        """
        check_rescaling(self.config.latent_rescaling, config)
        waits = self._waiting is not None and config.latent_type != "none" and not self.path.latents_first
        if config.token_time_conditioning and waits:
            raise ValueError(
                f"The model is conditioned on t_x (`token_time_conditioning`), and with `token_waiting` "
                f"{self.config.token_waiting!r} more tokens are masked than it was trained on at that time: use 'none'."
            )
        if config.token_time_conditioning and not self._unmasking.exact_with_token_times:
            raise ValueError(
                f"The model is conditioned on t_x (`token_time_conditioning`), which `unmasking` "
                f"{self.config.unmasking!r} does not draw: use 'ancestral'."
            )
        options = self.options_of(config)
        if all(self.config.get(name) == value for name, value in options.items()):
            return self
        return self.from_config(self.config, **options)


def leg_weights(steps: Sequence[float], path: TimePath) -> list[float]:
    """Returns the checked weights of a path's legs. Raises `ValueError` unless each leg has one above 0."""
    listed = isinstance(steps, Sequence) and not isinstance(steps, str)
    if not listed or len(steps) != len(path.legs) or not all(one in POSITIVE for one in steps):
        raise ValueError(
            f"`steps` is {list(steps) if listed else described(steps)}; give a weight above 0 for each of the "
            f"{len(path.legs)} legs of the path, such as {[1] * len(path.legs)}."
        )
    return [float(one) for one in steps]


def _subclasses(base: type[LaddScheduler]) -> Iterator[type[LaddScheduler]]:
    """Yields all direct and indirect subclasses, including those of users."""
    for one in base.__subclasses__():
        yield one
        yield from _subclasses(one)
