"""Generation: the loop over a scheduler's steps, from all noise to text. Paper, section 8."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from diffusers import DiffusionPipeline
from diffusers.utils import BaseOutput
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from ..modeling_ladd import LaddOutput, LaddPreTrainedModel
from ..randomness import RowGenerator
from ..schedulers import LaddJointScheduler, LaddScheduler
from ..schedulers.scheduling_utils import check_draw
from .pipeline_inputs import Prompt, check_tokenizer, number_of_rows, one_number_of_steps, prompt_ids, start_tokens


@dataclass
class LaddPipelineOutput(BaseOutput):
    """What a run gives.

    Attributes:
        sequences: `(B, S)` token ids.
        texts: the decoded sequences, or `None` for `output_type="seq"`.
        latents: `(B, M, D)` or `(B, M)` clean latents the sequences were written from, or `None`.
        nfe: number of denoiser evaluations, latents' steps included.
    """

    sequences: Tensor
    texts: list[str] | None = None
    latents: Tensor | None = None
    nfe: int = 0


class LaddPipeline(DiffusionPipeline):
    """Generates text with a LADD model.

    Args:
        model: the denoiser, a [`LaddForDiffusionLM`] or anything with its call and a `config`.
        scheduler: the inference schedule; joint if not given. It takes its noise processes from the model.
        tokenizer: for texts; without one, `output_type="seq"` gives ids.
    """

    model_cpu_offload_seq = "model"
    _optional_components = ["scheduler", "tokenizer"]  # what has a default: a pipeline is saved without it as well
    _callback_tensor_inputs = ["tokens", "latents", "unmask"]

    model: Any
    scheduler: LaddScheduler
    tokenizer: PreTrainedTokenizerBase | None

    def __init__(
        self,
        model: LaddPreTrainedModel,
        scheduler: LaddScheduler | None = None,
        tokenizer: PreTrainedTokenizerBase | None = None,
    ) -> None:
        super().__init__()
        scheduler = (LaddJointScheduler() if scheduler is None else scheduler).for_model(model.config)
        if tokenizer is not None:
            check_tokenizer(tokenizer, model.config)
        self.register_modules(model=model, scheduler=scheduler, tokenizer=tokenizer)

    @torch.no_grad()
    def __call__(
        self,
        prompt: Prompt | None = None,
        num_steps: int | None = None,
        batch_size: int | None = None,
        length: int | None = None,
        generator: torch.Generator | list[torch.Generator] | None = None,
        temperature: float = 1.0,
        top_p: float = 1.0,
        guidance_scale: float = 1.0,
        latents: Tensor | None = None,
        output_type: str | None = None,
        return_dict: bool = True,
        callback_on_step_end: Callable[[Any, int, int, dict[str, Any]], dict[str, Any]] | None = None,
        callback_on_step_end_tensor_inputs: Sequence[str] = ("tokens",),
        num_inference_steps: int | None = None,
        skip_idle_rows: bool = False,
    ) -> LaddPipelineOutput | tuple[Any, ...]:
        """Generates `batch_size` sequences with exactly `num_steps` evaluations of the denoiser.

        Args:
            prompt: text or ids that the sequences start with, one for all or one per row; never changed.
            num_steps: number of denoiser evaluations, the latents' included; `num_inference_steps` is the same. 32 if
                neither is given.
            batch_size: number of sequences; the number of prompts or of latents, or 1, if not given.
            length: tokens per sequence; the model's `max_position_embeddings` if not given.
            generator: one generator, or a list with one per row: row i then equals the single run with generator i.
            temperature: of the token draw; 0 is greedy.
            top_p: nucleus of the token draw.
            guidance_scale: w in u + w (c - u), on the logits given the latents (c) and given none (u); 1 is without.
                It needs a model trained with `latent_dropout`. Both are computed in one doubled batch.
            latents: clean latents `(B, M, D)` or `(B, M)` to write from, from `encode_latents` or an earlier run; all
                steps then go to the tokens.
            output_type: `text` (the default with a tokenizer) or `seq`.
            return_dict: return a [`LaddPipelineOutput`] or a tuple of (texts or sequences, latents, nfe).
            callback_on_step_end: called as `callback(pipe, step, timestep, tensors)` after each step; the `tokens`
                and `latents` it returns replace the loop's.
            callback_on_step_end_tensor_inputs: which of `tokens`, `latents`, `unmask` it is given.
            skip_idle_rows: leave out of each evaluation the rows in which the step reveals nothing. The samples are
                the same, sooner, where there are more steps than tokens.

        Raises `ValueError` with one sentence for arguments that do not fit each other or the model.
        """
        # 1. Arguments
        steps = one_number_of_steps(num_steps, num_inference_steps)
        self.check_inputs(
            prompt, temperature, top_p, guidance_scale, latents, output_type, callback_on_step_end_tensor_inputs
        )
        output_type = output_type or ("seq" if self.tokenizer is None else "text")
        config, device = self.model.config, self._execution_device
        self.scheduler = self.scheduler.for_model(config)

        # 2. Rows, their randomness, and what is visible from the start
        prompts = prompt_ids(prompt, self.tokenizer)
        rows = number_of_rows(batch_size, prompts, latents)
        random = RowGenerator.from_generator(generator, rows, device)
        tokens = start_tokens(prompts, rows, length, config, device)

        # 3. The path, from its noisy end
        self.scheduler.set_timesteps(steps, device=device, latents_given=latents is not None)
        latents = self._start_latents(latents, random, device)

        # 4. The steps
        alone = getattr(config, "separate_latent_denoiser", False)
        with self.progress_bar(total=steps) as progress:
            for index, timestep in enumerate(self.scheduler.timesteps.tolist()):
                unmask = self.scheduler.draw_unmask(timestep, tokens, random)
                moves = self.scheduler.draw_latent_moves(timestep, latents, random)
                without_tokens = alone and not self.scheduler.moves_tokens(timestep)
                shown = None if without_tokens else tokens
                if skip_idle_rows:
                    output = self._denoise_busy_rows(shown, latents, timestep, unmask, moves, guidance_scale)
                else:
                    output = self._denoise(shown, latents, timestep, unmask, guidance_scale)
                tokens, latents = self.scheduler.step(
                    output,
                    timestep,
                    tokens,
                    latents,
                    unmask=unmask,
                    latent_moves=moves,
                    temperature=temperature,
                    top_p=top_p,
                    generator=random,
                    return_dict=False,
                )
                if callback_on_step_end is not None:
                    state = {"tokens": tokens, "latents": latents, "unmask": unmask}
                    given = {name: state[name] for name in callback_on_step_end_tensor_inputs}
                    changed = callback_on_step_end(self, index, timestep, given) or {}
                    tokens, latents = changed.get("tokens", tokens), changed.get("latents", latents)
                progress.update()

        # 5. Texts
        texts = None
        if output_type == "text" and self.tokenizer is not None:
            texts = self.tokenizer.batch_decode(tokens, skip_special_tokens=True)
        self.maybe_free_model_hooks()
        if not return_dict:
            return (tokens if texts is None else texts, latents, steps)
        return LaddPipelineOutput(sequences=tokens, texts=texts, latents=latents, nfe=steps)

    def check_inputs(
        self,
        prompt: Prompt | None,
        temperature: float,
        top_p: float,
        guidance_scale: float,
        latents: Tensor | None,
        output_type: str | None,
        callback_tensors: Sequence[str],
    ) -> None:
        """Raises `ValueError` for options of a call that can not work, alone or together."""
        check_draw(temperature, top_p)
        if output_type not in (None, "text", "seq"):
            raise ValueError(f"`output_type` is {output_type!r}; give 'text' or 'seq'.")
        if output_type == "text" and self.tokenizer is None:
            raise ValueError("`output_type` is 'text', but the pipeline has no tokenizer: add one, or ask for 'seq'.")
        if guidance_scale != 1 and self.model.config.latent_type == "none":
            raise ValueError(
                f"`guidance_scale` is {guidance_scale}, but the model has no latents to guide by: leave it at 1."
            )
        unknown = set(callback_tensors) - set(self._callback_tensor_inputs)
        if unknown:
            raise ValueError(
                f"`callback_on_step_end_tensor_inputs` has {sorted(unknown)}; the loop has "
                f"{self._callback_tensor_inputs}."
            )
        if getattr(self.model.config, "separate_latent_denoiser", False) and latents is None:
            if prompt is not None:
                raise ValueError(
                    "This model denoises its latents without seeing tokens, so they would ignore the prompt: generate "
                    "without a prompt, or give `latents`."
                )
            if any(start[0] > end[0] and start[1] > end[1] for start, end in self.scheduler.path.legs):
                raise ValueError(
                    "This model denoises its latents with a network of their own, before the tokens: use "
                    "`LaddSequentialScheduler`, or give `latents`."
                )

    def _denoise(
        self, tokens: Tensor | None, latents: Tensor | None, timestep: int, unmask: Tensor, guidance_scale: float
    ) -> Any:
        """One evaluation: logits at `unmask`, in row-major order, and the latents' prediction."""
        t_x, t_y = self.scheduler.times(timestep)
        times: dict[str, Any] = {"token_timesteps": t_x, "latent_timesteps": t_y if latents is not None else None}
        if tokens is None:
            return self.model(None, latents, **times)
        if getattr(self.model.config, "separate_latent_denoiser", False):
            times["predict_latents"] = False  # an evaluation is one of one network
        if guidance_scale == 1 or latents is None or not self.scheduler.moves_tokens(timestep):
            return self.model(tokens, latents, **times, logits_mask=unmask)
        return self._guided(tokens, latents, times, unmask, guidance_scale)

    def _denoise_busy_rows(
        self,
        tokens: Tensor | None,
        latents: Tensor | None,
        timestep: int,
        unmask: Tensor,
        moves: Tensor | None,
        guidance_scale: float,
    ) -> Any:
        """The same, of the rows in which the step changes something; the others' latent prediction is never read."""
        busy = unmask.any(1) if moves is None else unmask.any(1) | moves.any(1)
        if busy.all():
            return self._denoise(tokens, latents, timestep, unmask, guidance_scale)
        if not busy.any():
            nothing = torch.zeros((), device=unmask.device)
            config = self.model.config
            return LaddOutput(
                logits=nothing.expand(0, config.vocab_size),
                latent_prediction=None if moves is None else nothing.expand(*moves.shape, config.codebook_size),
            )
        tokens, latents = (None if whole is None else whole[busy] for whole in (tokens, latents))
        output = self._denoise(tokens, latents, timestep, unmask[busy], guidance_scale)
        if moves is not None:
            prediction = output.latent_prediction
            whole = prediction.new_zeros((len(busy), *prediction.shape[1:]))
            output.latent_prediction = whole.index_put((busy,), prediction)
        return output

    def _guided(self, tokens: Tensor, latents: Tensor, times: dict[str, Any], unmask: Tensor, scale: float) -> Any:
        """Classifier-free guidance on the latents, both halves in one batch. Paper, section 6."""
        rows = len(tokens)
        doubled = {name: t.repeat(2 * rows) if isinstance(t, Tensor) else t for name, t in times.items()}
        doubled["latent_timesteps"][rows:] = 1.0  # latents that are pure noise say nothing
        output = self.model(
            torch.cat([tokens, tokens]),
            torch.cat([latents, self.scheduler.dropped_latents(latents)]),
            **doubled,
            logits_mask=torch.cat([unmask, unmask]),
        )
        conditional, unconditional = output.logits.chunk(2)
        output.logits = torch.where(
            conditional.isneginf(), conditional, unconditional + scale * (conditional - unconditional)
        )
        if output.latent_prediction is not None:
            output.latent_prediction = output.latent_prediction[:rows]
        return output

    def _start_latents(self, latents: Tensor | None, random: RowGenerator, device: torch.device) -> Tensor | None:
        config = self.model.config
        if latents is None:
            return self.scheduler.prior_latents(config.latent_length, random, len(random))
        self.scheduler.check_latents(latents, len(random), config.latent_length)
        return latents.to(device)
