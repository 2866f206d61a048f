"""The scheduler of any path of the time square: a grid of points on it, and the reverse step between two of them."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from numbers import Integral
from typing import Any

import torch
from diffusers import ConfigMixin, SchedulerMixin
from diffusers.utils import BaseOutput
from torch import Tensor

from ..diffusion.channels import LatentChannel
from ..diffusion.gaussian import LATENT_SOLVERS
from ..diffusion.masked import draw_categorical
from ..diffusion.paths import GRID_SPACINGS, TOKENS_ONLY, Point, TimePath
from ..diffusion.process import latent_channel, token_channel
from ..diffusion.rng import RowGenerator
from ..models.configuration_ladd import LaddConfig
from ..models.vocabulary import Vocabulary, unwritten_padding
from ..utils.number_ranges import COUNT, COUNT_OR_ZERO, check_ranges
from ..utils.wrong_objects import check_number, is_one_of
from .remasking import REMASKINGS, check_remasking
from .unmasking import TokenStep, unmasking

Generators = torch.Generator | Sequence[torch.Generator] | RowGenerator | None

# The fields of a model's configuration that define its two noise processes.
NOISE_FIELDS = (
    "mask_token_id",
    "token_noise_schedule",
    "latent_type",
    "latent_dim",
    "codebook_size",
    "latent_noise_schedule",
    "latent_prediction_type",
)
# What those may be that are numbers; the others are checked where they become objects.
PROCESS_RANGES = {
    "mask_token_id": COUNT_OR_ZERO,
    "pad_token_id": COUNT_OR_ZERO,
    "tokenizer_size": COUNT,
    "latent_dim": COUNT_OR_ZERO,
    "codebook_size": COUNT_OR_ZERO,
}


@dataclass
class LaddSchedulerOutput(BaseOutput):
    """One reverse step's result.

    Attributes:
        prev_sample: `(B, S)` tokens, fewer of them masked.
        prev_latents: `(B, M, D)` or `(B, M)` latents, less noisy, or `None`.
    """

    prev_sample: Tensor
    prev_latents: Tensor | None = None


class LaddScheduler(SchedulerMixin, ConfigMixin):
    """Base of the schedulers: a subclass says which path is walked and how many steps each of its legs gets.

    The step from (t_x, t_y) to (s_x, s_y) reveals each masked token with probability
    (alpha(s_x) - alpha(t_x)) / (1 - alpha(t_x)), drawn from the denoiser, does the same with latent codes, and moves
    continuous latents by the chosen solver. The last step reveals all that is masked. Paper, sections 2, 3 and 8.
    The options `unmasking` and `remasking` change how tokens are revealed: see `unmasking.py` and `remasking.py`.
    """

    order = 1

    def _setup(self) -> None:
        """Builds the two noise processes from the registered configuration; each subclass ends its `__init__` so."""
        if not is_one_of(self.config.timestep_spacing, GRID_SPACINGS):
            raise ValueError(
                f"`timestep_spacing` {self.config.timestep_spacing!r} is unknown; give one of {sorted(GRID_SPACINGS)}."
            )
        check_ranges(self.config, PROCESS_RANGES, optional=("mask_token_id", "pad_token_id", "tokenizer_size"))
        processes: Any = self.config
        if not is_one_of(self.config.latent_solver, LATENT_SOLVERS):
            raise ValueError(
                f"Latent solver {self.config.latent_solver!r} is unknown; give one of {sorted(LATENT_SOLVERS)}."
            )
        self._tokens = token_channel(processes)
        self._latents = latent_channel(processes, self.config.latent_solver)
        self._vocabulary = Vocabulary(processes.mask_token_id, processes.pad_token_id, processes.tokenizer_size)
        self._unmasking = unmasking(self.config.unmasking)
        check_remasking(self.config.remasking, self.config.remasking_rate, self.config.unmasking)
        self.num_inference_steps: int | None = None
        self.timesteps = torch.arange(0)
        self._grid: list[Point] = []
        self._token_steps: list[TokenStep | None] = []
        self.token_times = self.latent_times = torch.zeros(0)

    @property
    def path(self) -> TimePath:
        """The path that is walked when latents are generated: a subclass's to say."""
        raise NotImplementedError(f"{type(self).__name__} does not say which path it walks: define `path`.")

    def steps_per_leg(self, num_steps: int) -> list[int]:
        """How `num_steps` evaluations are shared among the path's legs. Raises `ValueError` for too few."""
        raise NotImplementedError(f"{type(self).__name__} does not share out its steps: define `steps_per_leg`.")

    @classmethod
    def _get_compatibles(cls) -> list[type[LaddScheduler]]:
        """All that walk a path: `from_config` keeps the options of one for when another has been in between."""
        return list(_subclasses(LaddScheduler))

    @classmethod
    def process_options(cls, config: LaddConfig) -> dict[str, Any]:
        """The options of a scheduler that a model's configuration decides."""
        options = {name: getattr(config, name) for name in NOISE_FIELDS}
        tokens = getattr(config, "tokenizer_size", None)
        return {**options, "pad_token_id": unwritten_padding(config), "tokenizer_size": tokens}

    def for_model(self, config: LaddConfig) -> LaddScheduler:
        """This scheduler, or where its noise processes are not the model's, a copy with the model's.

        Raises `ValueError` where it reveals tokens in a way that the model can not follow.
        """
        if config.token_time_conditioning and not self._unmasking.exact_with_token_times:
            raise ValueError(
                f"The model is told t_x (`token_time_conditioning`), which `unmasking` {self.config.unmasking!r} does "
                "not draw: use 'ancestral'."
            )
        options = self.process_options(config)
        if all(self.config.get(name) == value for name, value in options.items()):
            return self
        return self.from_config(self.config, **options)

    def set_timesteps(
        self,
        num_inference_steps: int,
        device: torch.device | str | None = None,
        latent_time: float = 1.0,
        num_tokens: int | None = None,
    ) -> None:
        """Lays `num_inference_steps` steps, one denoiser evaluation each, on the path.

        Args:
            num_inference_steps: how many.
            device: of `timesteps`.
            latent_time: t_y at which the latents start: 1 for noise, 0 for latents that are given, in between for given
                ones with noise. At 0, or for a model without latents, all steps go to the tokens.
            num_tokens: how many tokens a row has to write at most: where tokens move alone, `first_hitting` makes no
                more steps.

        Raises `ValueError` for less than one step, for too few to walk every leg, and for a time outside of [0, 1].
        """
        whole = isinstance(num_inference_steps, Integral) and not isinstance(num_inference_steps, bool)
        if not whole or num_inference_steps < 1:
            raise ValueError(
                f"`num_steps` is {num_inference_steps!r}; give a whole number of denoiser evaluations, at least 1."
            )
        if not 0 <= latent_time <= 1:
            raise ValueError(f"`latent_time` is {latent_time}; give a time from 0 (clean) to 1 (pure noise).")
        path, steps = TOKENS_ONLY, [int(num_inference_steps)]
        if latent_time > 0 and self._latents is not None:
            path, steps = self.path.starting_at(latent_time, self.steps_per_leg(int(num_inference_steps)))
        if num_tokens is not None and self._unmasking.one_evaluation_per_token:
            tokens_alone = [start[1] == end[1] for start, end in path.legs]
            steps = [min(n, max(num_tokens, 1)) if alone else n for n, alone in zip(steps, tokens_alone, strict=True)]
        self._grid = path.grid(steps, self.config.timestep_spacing)
        self._token_steps = self._planned_token_steps()
        self.num_inference_steps = sum(steps)
        self.timesteps = torch.arange(self.num_inference_steps, device=device)
        token_times, latent_times = zip(*self._grid, strict=True)
        self.token_times = torch.tensor(token_times, dtype=torch.float32, device=device)
        self.latent_times = torch.tensor(latent_times, dtype=torch.float32, device=device)

    def times(self, timestep: int | Tensor) -> tuple[Tensor, Tensor]:
        """t_x and t_y at the start of a step, `(1,)` each, which the model spreads over the batch."""
        index = self._index(timestep)
        return self.token_times[index : index + 1], self.latent_times[index : index + 1]

    def moves_tokens(self, timestep: int | Tensor) -> bool:
        """Whether the step can reveal tokens: t_x falls in it."""
        (t_x, _), (s_x, _) = self._interval(timestep)
        return s_x < t_x

    def moves_latents(self, timestep: int | Tensor) -> bool:
        """Whether the step changes latents: t_y falls in it."""
        (_, t_y), (_, s_y) = self._interval(timestep)
        return s_y < t_y

    def prior_latents(self, latent_length: int, generator: Generators, batch_size: int) -> Tensor | None:
        """Latents at t_y = 1: normal noise `(B, M, D)`, mask codes `(B, M)`, or `None` without latents."""
        if self._latents is None:
            return None
        return self._latents.prior(latent_length, RowGenerator.from_generator(generator, batch_size))

    def dropped_latents(self, latents: Tensor) -> Tensor:
        """Latents that say nothing, shaped as `latents`: zeros or mask codes, the guidance's other half."""
        return self._channel().dropped(latents)

    def check_latents(self, latents: Tensor, batch_size: int, latent_length: int) -> None:
        """Raises `ValueError` unless `latents` are clean latents of this kind for the batch."""
        self._channel().check(latents, batch_size, latent_length)

    def draw_unmask(
        self, timestep: int | Tensor, sample: Tensor, generator: Generators = None, keep: Tensor | None = None
    ) -> Tensor:
        """At which positions of `sample` `(B, S)` the step needs logits, bool: those it reveals, drawn before any
        evaluation, or all that it chooses among by their logits (`unmasking` by confidence).

        `keep` `(B, S)` is that of the step. With it, a row in which the step reveals nothing has none.
        """
        step = self._token_step(timestep)
        if step is None:
            return torch.zeros_like(sample, dtype=torch.bool)
        random = RowGenerator.from_generator(generator, len(sample), sample.device)
        return self._unmasking.candidates(self._tokens, sample, step, random, keep)

    def draw_latent_moves(
        self, timestep: int | Tensor, latents: Tensor | None, generator: Generators = None
    ) -> Tensor | None:
        """Which latents the step changes, `(B, M)` bool: the codes it reveals, or all continuous ones, before any
        evaluation. `None` where it changes none."""
        (_, t_y), (_, s_y) = self._interval(timestep)
        if latents is None or s_y == t_y:
            return None
        random = RowGenerator.from_generator(generator, len(latents), latents.device)
        return self._channel().draw_moves(latents, t_y, s_y, random)

    def step(
        self,
        model_output: Any,
        timestep: int | Tensor,
        sample: Tensor,
        latents: Tensor | None = None,
        *,
        unmask: Tensor | None = None,
        latent_moves: Tensor | None = None,
        keep: Tensor | None = None,
        temperature: float = 1.0,
        top_p: float = 1.0,
        generator: Generators = None,
        return_dict: bool = True,
    ) -> LaddSchedulerOutput | tuple[Tensor, Tensor | None]:
        """The reverse step of tokens and latents.

        Args:
            model_output: the denoiser's output, with `logits` `(B, S, V)`, or `(n, V)` at the n positions of `unmask`,
                and `latent_prediction`; or the logits alone.
            timestep: index of the step, from `timesteps`.
            sample: `(B, S)` tokens at t_x.
            latents: `(B, M, D)` or `(B, M)` latents at t_y.
            unmask: `(B, S)` bool from `draw_unmask`; drawn here if not given.
            latent_moves: `(B, M)` bool from `draw_latent_moves`; drawn here if not given.
            keep: `(B, S)` bool, tokens that were there from the start, such as a prompt's: no `remasking` masks them
                again, and they do not count among those to write. None, if not given.
            temperature: of the token draw; 0 takes the most likely token.
            top_p: nucleus of the token draw.
            generator: one generator, a list with one per row, or a `RowGenerator` that serves a whole run.
            return_dict: return a [`LaddSchedulerOutput`] or a plain tuple.

        Raises `ValueError` for a negative temperature or a `top_p` outside of (0, 1].
        """
        check_draw(temperature, top_p)
        (_, t_y), (_, s_y) = self._interval(timestep)
        random = RowGenerator.from_generator(generator, len(sample), sample.device)
        if unmask is None:
            unmask = self.draw_unmask(timestep, sample, random, keep)
        if latent_moves is None:
            latent_moves = self.draw_latent_moves(timestep, latents, random)
        step = self._token_step(timestep)
        if step is not None:
            logits = getattr(model_output, "logits", model_output)
            logits = self._vocabulary.without_unwritten(logits[unmask] if logits.ndim == 3 else logits)  # (n, V)
            sample = self._reveal(step, sample, unmask, logits, random, keep, temperature, top_p)
        if latents is not None and latent_moves is not None:
            prediction = model_output.latent_prediction
            latents = self._channel().step(prediction, latents, t_y, s_y, random, latent_moves)
        if not return_dict:
            return sample, latents
        return LaddSchedulerOutput(prev_sample=sample, prev_latents=latents)

    def _token_step(self, timestep: int | Tensor) -> TokenStep | None:
        """The tokens' part of a step, `None` where they stand still."""
        self._check_mask()
        return self._token_steps[self._index(timestep)]

    def _planned_token_steps(self) -> list[TokenStep | None]:
        """The tokens' part of each step of the grid, made once: linear in the number of steps."""
        times = [t_x for t_x, _ in self._grid]
        alphas = [self._tokens.alpha_at(time) for time in times]
        rate = REMASKINGS[self.config.remasking]
        left = sum(s_x < t_x for t_x, s_x in itertools.pairwise(times))  # steps in which tokens still move
        plan: list[TokenStep | None] = []
        for (t_x, alpha_t), (s_x, alpha_s) in itertools.pairwise(zip(times, alphas, strict=True)):
            if s_x == t_x:
                plan.append(None)
                continue
            plan.append(TokenStep(t_x, s_x, left, rate(self.config.remasking_rate, alpha_t, alpha_s)))
            left -= 1
        return plan

    def _reveal(
        self,
        step: TokenStep,
        sample: Tensor,
        unmask: Tensor,
        logits: Tensor,
        random: RowGenerator,
        keep: Tensor | None,
        temperature: float,
        top_p: float,
    ) -> Tensor:
        """Tokens `(B, S)` at s_x: the chosen ones of `unmask` drawn from `logits` `(n, V)`, some masked again."""
        chosen = self._unmasking.chosen(unmask, logits, self._tokens, step, keep)
        uniform = random.uniform(sample.shape[1])
        of_chosen = logits if chosen is unmask else logits[chosen[unmask]]
        drawn = draw_categorical(of_chosen, uniform[chosen], temperature, top_p)
        revealed = sample.masked_scatter(chosen, drawn.to(sample.dtype))
        if self.config.remasking == "none":
            return revealed
        again = (sample != self._tokens.mask_id) & (random.uniform(sample.shape[1]) < step.remask)
        return revealed.masked_fill(again if keep is None else again & ~keep, self._tokens.mask_id)

    def add_noise(self, original_samples: Tensor, timesteps: Tensor, generator: Generators = None) -> Tensor:
        """Clean tokens `(B, S)` masked to the times `timesteps` in [0, 1], `(B,)` or a scalar."""
        self._check_mask()
        random, times = self._noising(original_samples, timesteps, generator)
        return self._tokens.add_noise(original_samples, times, random)

    def add_latent_noise(self, latents: Tensor, timesteps: Tensor, generator: Generators = None) -> Tensor:
        """Clean latents noised to the times `timesteps` in [0, 1], `(B,)` or a scalar."""
        random, times = self._noising(latents, timesteps, generator)
        return self._channel().add_noise(latents, times, random)

    def _channel(self) -> LatentChannel:
        if self._latents is None:
            raise ValueError("There are no latents here (`latent_type` 'none'): use a model that has them.")
        return self._latents

    def _check_mask(self) -> None:
        if self._tokens.mask_id is None:
            raise ValueError(
                "The scheduler does not know the mask token: give `mask_token_id`, or take the model's with "
                "`scheduler.for_model(model.config)`."
            )

    def _noising(self, clean: Tensor, timesteps: Tensor, generator: Generators) -> tuple[RowGenerator, Tensor]:
        times = torch.as_tensor(timesteps, dtype=torch.float64, device=clean.device)
        if times.numel() and not 0 <= float(times.min()) <= float(times.max()) <= 1:
            raise ValueError(
                f"`timesteps` run from {float(times.min())} to {float(times.max())}; noise is added at times from 0 "
                "(clean) to 1 (pure noise)."
            )
        return RowGenerator.from_generator(generator, len(clean), clean.device), times.expand(len(clean))

    def _interval(self, timestep: int | Tensor) -> tuple[Point, Point]:
        index = self._index(timestep)
        return self._grid[index], self._grid[index + 1]

    def _index(self, timestep: int | Tensor) -> int:
        index = int(timestep)
        if not self._grid:
            raise ValueError("The scheduler has no steps yet: call `set_timesteps(num_steps)` first.")
        if not 0 <= index < len(self._grid) - 1:
            raise ValueError(f"Step {index} does not exist; `timesteps` run from 0 to {len(self._grid) - 2}.")
        return index


def _subclasses(base: type[LaddScheduler]) -> Iterator[type[LaddScheduler]]:
    """All that descend from a class, a user's subclass of a subclass among them."""
    for one in base.__subclasses__():
        yield one
        yield from _subclasses(one)


def check_draw(temperature: float, top_p: float) -> None:
    """Raises `ValueError` unless tokens can be drawn with these."""
    check_number("`temperature`", temperature)
    check_number("`top_p`", top_p)
    if temperature < 0:
        raise ValueError(f"`temperature` is {temperature}; give 0 (greedy) or more, 1 for the model's own law.")
    if not 0 < top_p <= 1:
        raise ValueError(f"`top_p` is {top_p}; give a mass above 0 and up to 1 (everything).")
