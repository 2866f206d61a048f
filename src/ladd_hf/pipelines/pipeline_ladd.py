"""Generation: the loop over a scheduler's steps, from pure noise to text. Paper, section 8."""

from __future__ import annotations

import copy
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from diffusers import DiffusionPipeline
from diffusers.utils import BaseOutput
from huggingface_hub import snapshot_download
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from ..diffusion.rng import Generators, RowGenerator
from ..models.adapters import has_adapters, merged
from ..models.chunks import least_length
from ..models.eval_mode import evaluation_mode
from ..models.modeling_ladd import LaddForDiffusionLM, LaddPreTrainedModel
from ..models.vocabulary import check_tokenizer, has_tokens_of, take_vocabulary
from ..schedulers import LaddJointScheduler, LaddScheduler, LaddSequentialScheduler, LaddTunedScheduler
from ..utils.local_paths import refuse_file
from ..utils.padding import padded_texts
from ..utils.rounding import round_half_up
from ..utils.wrong_objects import check_number, described
from .callbacks import TENSORS, call_back, check_callback
from .diffusers_stubs import index_of_a_model, without_files, write_imports
from .eos import bos_id, cut_at_eos, eos_ids, filler_id
from .guidance import GuidedDenoiser
from .inputs import (
    Length,
    Prompt,
    check_ids,
    number_of_rows,
    one_number_of_steps,
    prompt_ids,
    sequence_lengths,
    start_tokens,
    whole_number,
)
from .interpolation import interpolate_latents
from .logits_processors import logits_processors, process_logits
from .lora import LoraPipelineMixin
from .parts import check_model, check_scheduler
from .placement import PlacementMixin

_DOWNLOAD_OPTIONS = ("cache_dir", "force_download", "local_files_only", "token", "revision")


@dataclass
class LaddPipelineOutput(BaseOutput):
    """Output of a run.

    Attributes:
        sequences: `(B, S)` token ids, padded at the end of shorter rows.
        texts: the decoded sequences, or `None` for `output_type="seq"`.
        latents: `(B, M, D)` or `(B, M)` clean latents of the sequences, or `None`.
        nfe: number of denoiser evaluations, including the steps of the latents: one for each step, also if it is
            guided, since both halves of guidance are one call of the denoiser, on twice the rows.
        lengths: `(B,)` number of tokens of each row, without padding.
        row_evaluations: rows in all of these evaluations; over B, a sample's share, in which guided steps count twice,
            idle rows that are skipped not at all, and rows whose latents are predicted without their tokens, in a step
            that writes both, twice.
    """

    sequences: Tensor
    texts: list[str] | None = None
    latents: Tensor | None = None
    nfe: int = 0
    lengths: Tensor | None = None
    row_evaluations: int = 0


class LaddPipeline(LoraPipelineMixin, PlacementMixin, DiffusionPipeline):
    """Generates text with a LADD model.

    Args:
        model: the denoiser, a [`LaddForDiffusionLM`] or any object with its call and a `config`.
        scheduler: the inference schedule; joint by default. Its noise process is set to the model's.
        tokenizer: tokenizer of prompts and texts; without it the output is token ids. The model's configuration
            records which ids have a token, and others are never written; a read-only one has to hold this already.
    """

    model_cpu_offload_seq = "model"
    _optional_components = ["scheduler", "tokenizer"]  # these have defaults, so a pipeline can be saved without them
    _callback_tensor_inputs = TENSORS

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
        check_model(model)
        scheduler = LaddJointScheduler() if scheduler is None else scheduler
        check_scheduler(scheduler)
        if tokenizer is not None:
            check_tokenizer(tokenizer, model.config)
            take_vocabulary(model.config, tokenizer)
        self.register_modules(model=model, scheduler=scheduler.for_model(model.config), tokenizer=tokenizer)

    def __setattr__(self, name: str, value: Any) -> None:
        """Sets an attribute and checks components. Raises `ValueError` for an invalid component."""
        if name == "model":
            check_model(value)
        elif name == "scheduler":
            check_scheduler(value)
            if (model := self.__dict__.get("model")) is not None:
                value = value.for_model(model.config)
        elif name == "tokenizer" and value is not None:
            check_tokenizer(value, self.model.config)
        if name == "tokenizer" and value is not None and self.__dict__.get(name, value) is None:
            # register again: a tokenizer that replaces `None` would not be saved otherwise, as of diffusers 0.42.1
            del self.__dict__[name]
            return self.register_modules(tokenizer=value)
        if name in ("model", "tokenizer"):
            parts = {part: self.__dict__.get(part) for part in ("model", "tokenizer")}
            self._introduce(**{**parts, name: value})
        super().__setattr__(name, value)

    @staticmethod
    def _introduce(model: Any, tokenizer: PreTrainedTokenizerBase | None) -> None:
        """Sets the tokenizer of a model, unless the model expects another one."""
        if tokenizer is None or not has_tokens_of(model.config, tokenizer):
            return
        take_vocabulary(model.config, tokenizer)
        if isinstance(model, LaddForDiffusionLM):
            model.set_tokenizer(tokenizer)

    @classmethod
    def download(cls, pretrained_model_name: str, **kwargs: Any) -> str:
        """Fetches a pipeline's repository from the Hub and returns its folder in the cache.

        Accepts `cache_dir`, `force_download`, `local_files_only`, `token` and `revision`. The repository's Python files
        are not downloaded; the installed package is used instead. (As of diffusers 0.42.1 its own method refuses
        components of other packages whose code is not in the repository.)
        """
        options = {name: kwargs[name] for name in _DOWNLOAD_OPTIONS if name in kwargs}
        return snapshot_download(pretrained_model_name, ignore_patterns=["*.py"], **options)

    @classmethod
    def load_config(cls, pretrained_model_name_or_path: str | os.PathLike, **kwargs: Any) -> Any:
        """Loads the pipeline's configuration. Uses this package's classes instead of the repository's stub files, and
        treats a folder that holds only a model as a pipeline with the default scheduler."""
        folder = Path(pretrained_model_name_or_path)
        index = None if (folder / cls.config_name).is_file() else index_of_a_model(folder)
        loaded = super().load_config(folder, **kwargs) if index is None else index
        schedulers = (LaddScheduler, LaddJointScheduler, LaddSequentialScheduler, LaddTunedScheduler)
        modules = {one.__name__: one.__module__ for one in (LaddForDiffusionLM, *schedulers)}
        if isinstance(loaded, tuple):
            return without_files(loaded[0], modules), *loaded[1:]
        return without_files(loaded, modules)

    def to_json_file(self, json_file_path: str | os.PathLike) -> None:
        """Writes `model_index.json` and the stub files with which diffusers alone can load the pipeline."""
        super().to_json_file(json_file_path)
        write_imports(Path(json_file_path), type(self))

    def save_pretrained(self, save_directory: str | os.PathLike, *args: Any, **kwargs: Any) -> None:
        """Saves the pipeline with a complete model: the active adapters are merged in a copy.

        `pipe.model.save_pretrained` saves an adapter alone. Raises `ValueError` if `save_directory` is a file.
        """
        refuse_file(save_directory)
        if isinstance(self.model, torch.nn.Module) and has_adapters(self.model):
            whole = type(self)(**{**self.components, "model": merged(self.model)})
            return whole.save_pretrained(save_directory, *args, **kwargs)
        super().save_pretrained(save_directory, *args, **kwargs)

    @torch.no_grad()
    def __call__(
        self,
        prompt: Prompt | None = None,
        num_steps: int | None = None,
        batch_size: int | None = None,
        length: Length = None,
        generator: Generators = None,
        temperature: float | None = None,
        top_p: float = 1.0,
        guidance_scale: float = 1.0,
        latents: Tensor | None = None,
        output_type: str | None = None,
        return_dict: bool = True,
        callback_on_step_end: Callable[[Any, int, int, dict[str, Any]], dict[str, Any]] | None = None,
        callback_on_step_end_tensor_inputs: Sequence[str] = ("tokens",),
        num_inference_steps: int | None = None,
        strength: float = 0.0,
        suppress_tokens: Sequence[int] | None = None,
        logits_processor: Sequence[Any] | None = None,
        stop_at_eos: bool | None = None,
        skip_idle_rows: bool = False,
        latent_temperature: float | None = None,
    ) -> LaddPipelineOutput | tuple[Any, ...]:
        """Generates `batch_size` sequences with exactly `num_steps` evaluations of the denoiser.

        Args:
            prompt: text or ids at the start of the sequences, one for all rows or one per row, or the output of a
                tokenizer, padded or not. Only its mask tokens are replaced; with `length="prompt"` nothing else is
                generated. A text gets the special tokens that began the training texts, such as a
                beginning-of-sequence token, and with `length="prompt"` also those that ended them. Ids are used as they
                are, without padding at their ends.
            num_steps: number of denoiser evaluations, including those for the latents; `num_inference_steps` is an
                alias. Defaults to 32. (With `first_hitting` unmasking the run stops once all tokens are written.)
            batch_size: number of sequences; defaults to the number of prompts, latents or lengths, or 1.
            length: tokens per sequence, including special tokens: one number, one per row, or `"prompt"`. By default
                each row's is drawn from the lengths of the training texts if the model has them (`text_lengths`), and
                is the model's `max_position_embeddings` otherwise.
            generator: one generator, or a list with one per row; row i then equals the single run with generator i.
            temperature: temperature of token sampling; 0 is greedy. By default the scheduler's, which is 1 unless set.
            top_p: nucleus of token sampling.
            guidance_scale: w in u + w (c - u), for the logits with latents (c) and without (u); 1 disables guidance.
                Needs a model trained with `latent_dropout`. Both halves are computed in one doubled batch: one
                evaluation of twice the rows, at twice the cost of the steps that write tokens.
            latents: clean latents `(B, M, D)` or `(B, M)` to generate from, as returned by `encode` or an earlier run;
                all steps then go to the tokens.
            output_type: `text` (the default with a tokenizer) or `seq`.
            return_dict: return a [`LaddPipelineOutput`] instead of a tuple (texts or sequences, latents, nfe, lengths).
            callback_on_step_end: called as `callback(pipe, step, timestep, tensors)` after each step; the `tokens`
                and `latents` it returns replace those of the loop.
            callback_on_step_end_tensor_inputs: names of the tensors passed to it, out of `tokens`, `latents` and
                `unmask`. `unmask` marks the positions with logits, with unmasking by confidence more than are revealed.
            strength: time t_y in [0, 1] to which the given `latents` are noised before they are denoised along the
                scheduler's path: 0 uses them as they are, 1 ignores them.
            suppress_tokens: ids that are never written.
            logits_processor: transformers' logits processors, or your own, called as
                `processor(input_ids, scores)` with one line per position to write: the current tokens of its row,
                `(n, S)`, and the scores `(n, V)`; a processor with a parameter `positions` receives these, `(n,)`.
            stop_at_eos: end each text at the first end-of-sequence token that is written; by default True if the
                training texts were padded with them.
            skip_idle_rows: leave out of each evaluation the rows in which the step reveals nothing. The samples do not
                change, and are faster if there are more steps than tokens; evaluations without rows are skipped and not
                counted.
            latent_temperature: temperature at which codes or anchors are drawn; by default the scheduler's. Below 1
                texts are likelier, and as varied as their latents still are; see `docs/generation.md`.

        Raises `ValueError` for arguments that do not fit each other or the model.
        """
        # 1. Arguments
        steps = one_number_of_steps(num_steps, num_inference_steps)
        self.check_inputs(prompt, guidance_scale, latents, output_type, strength, latent_temperature)
        check_callback(callback_on_step_end, callback_on_step_end_tensor_inputs)
        output_type = output_type or ("seq" if self.tokenizer is None else "text")
        config, device = self.model.config, self._execution_device
        self.scheduler = self.scheduler.for_model(config)
        samplers = {
            "sampler": self.scheduler.token_sampler(temperature, top_p),
            "latent_sampler": self.scheduler.latent_sampler(latent_temperature),
        }
        ends = eos_ids(config, stop_at_eos)
        processors = logits_processors(logits_processor, suppress_tokens, config)

        # 2. Rows, their randomness, and what is visible from the start
        whole = isinstance(length, str) and length == "prompt"
        prompts = prompt_ids(prompt, self.tokenizer, config, whole)
        rows = number_of_rows(batch_size, prompts, latents, length)
        random = RowGenerator.from_generator(generator, rows, device)
        prompts = (prompts or []) * (rows if len(prompts or []) == 1 else 1)
        lengths = sequence_lengths(length, prompts, rows, config, random)
        tokens, attention_mask = start_tokens(prompts, lengths, config, device)
        editable = tokens == config.mask_token_id

        # 3. The path, from its noisy end
        latent_time = 1.0 if latents is None else strength
        scheduler = copy.copy(self.scheduler)  # a copy per run, since runs in other threads set other timesteps
        for one in (scheduler, self.scheduler):  # the pipeline's own for callbacks that read it
            one.set_timesteps(steps, device, latent_time, num_tokens=int(editable.sum(1).amax()))
        latents = self._start_latents(scheduler, latents, strength, random, device)

        # 4. The steps
        denoise = GuidedDenoiser(self.model, scheduler, attention_mask, guidance_scale, skip_idle_rows)
        total = scheduler.num_inference_steps
        with evaluation_mode(self.model), self.progress_bar(total=total) as progress:
            for index, timestep in enumerate(scheduler.timesteps.tolist()):
                plan = scheduler.plan_step(timestep, tokens, latents, random, editable, attention_mask)
                output = denoise(tokens, latents, plan)
                if processors and plan.moves_tokens:
                    output.logits = process_logits(processors, output.logits, tokens, plan.unmask)
                tokens, latents = scheduler.step(
                    output, timestep, tokens, latents, plan=plan, **samplers, generator=random, return_dict=False
                )
                if callback_on_step_end is not None:
                    state = {"tokens": tokens, "latents": latents, "unmask": plan.unmask}
                    asked = callback_on_step_end_tensor_inputs
                    tokens, latents = call_back(callback_on_step_end, self, index, timestep, state, asked, config)
                progress.update()

        # 5. Texts
        ending = torch.tensor(lengths, device=device)
        if ends is not None:
            tokens, ending = cut_at_eos(tokens, ending, editable, ends, filler_id(config, ends), bos_id(config))
        texts = None
        if output_type == "text" and self.tokenizer is not None:
            ids = [row[:end] for row, end in zip(tokens.tolist(), ending.tolist(), strict=True)]
            texts = self.tokenizer.batch_decode(ids, skip_special_tokens=True)
        self.maybe_free_model_hooks()
        if not return_dict:
            return (tokens if texts is None else texts, latents, denoise.count, ending)
        return LaddPipelineOutput(
            sequences=tokens,
            texts=texts,
            latents=latents,
            nfe=denoise.count,
            lengths=ending,
            row_evaluations=denoise.row_count,
        )

    # --- latents of texts ---

    def encode(self, text: Prompt) -> Tensor:
        """Encodes texts to clean latents, `(B, M, D)` vectors or `(B, M)` codes, for use as `latents` in a call.

        `text` is one text or several, or their ids, as for `prompt`; texts get the special tokens of the training texts
        at both ends. Raises `ValueError` for texts with fewer tokens than latents, with mask tokens or longer than the
        model's limit, and for a model without latents.
        """
        return self._encode(prompt_ids(text, self.tokenizer, self.model.config, whole=True) or [])

    @torch.no_grad()
    def _encode(self, rows: list[list[int]]) -> Tensor:
        config, device = self.model.config, self._execution_device
        if not hasattr(self.model, "encode_latents"):
            raise ValueError(
                f"The model is {described(self.model)}, without `encode_latents`: give a LaddForDiffusionLM with "
                "latents to encode texts."
            )
        if not rows or not all(1 <= len(ids) <= config.max_position_embeddings for ids in rows):
            raise ValueError(
                f"The texts have {[len(ids) for ids in rows]} tokens; the encoder takes "
                f"{max(least_length(config), 1)} to {config.max_position_embeddings} each."
            )
        for number, ids in enumerate(rows):
            check_ids(ids, config, f"Text {number}", masked=False)
        tokens, mask = padded_texts(rows, getattr(config, "pad_token_id", None) or 0)
        if (hook := getattr(self.model, "_hf_hook", None)) is not None:
            hook.pre_forward(self.model)  # an offloaded model is moved to the device only for its forward
        return self.model.encode_latents(tokens.to(device), None if mask is None else mask.to(device))

    def variations(
        self, text: Prompt, strength: float = 0.5, batch_size: int = 1, **options: Any
    ) -> LaddPipelineOutput | tuple[Any, ...]:
        """Generates variations of one text or its ids: noises its latents to the time `strength` and denoises them.

        `options` are those of a call; the default `length` is that of `text`.
        """
        (ids,) = self._single(text, "text")
        batch_size = whole_number(batch_size, "batch_size")
        latents = self._encode([ids])
        options = {"length": len(ids), **options}
        latents = latents.expand(batch_size, *latents.shape[1:])
        return self(latents=latents, strength=strength, batch_size=batch_size, **options)

    def interpolate(
        self, first: Prompt, second: Prompt, batch_size: int = 5, **options: Any
    ) -> LaddPipelineOutput | tuple[Any, ...]:
        """Generates `batch_size` texts from latents interpolated between those of two texts.

        The first row is generated from the first text's latents, the last from the second's. `options` are those of a
        call; the default `length` is interpolated too.
        """
        (ids,), (other_ids,) = self._single(first, "first"), self._single(second, "second")
        batch_size = whole_number(batch_size, "batch_size")
        weights = torch.linspace(0, 1, batch_size, dtype=torch.float64)
        order = RowGenerator.from_seed(0, torch.zeros(1, dtype=torch.int64))  # a fixed order of positions
        latents = interpolate_latents(self._encode([ids]), self._encode([other_ids]), weights, order)
        lengths = [round_half_up(len(ids) + weight * (len(other_ids) - len(ids))) for weight in weights.tolist()]
        return self(latents=latents, batch_size=batch_size, **{"length": lengths, **options})

    def _single(self, text: Prompt, name: str) -> list[list[int]]:
        rows = prompt_ids(text, self.tokenizer, self.model.config, whole=True) or []
        if len(rows) != 1:
            raise ValueError(f"`{name}` holds {len(rows)} texts; give one.")
        return rows

    def check_inputs(
        self,
        prompt: Prompt | None,
        guidance_scale: float,
        latents: Tensor | None,
        output_type: str | None,
        strength: float = 0.0,
        latent_temperature: float | None = None,
    ) -> None:
        """Raises `ValueError` for options of a call that are invalid, alone or together."""
        if self.tokenizer is not None:  # the model may have been replaced
            check_tokenizer(self.tokenizer, self.model.config)
        check_number("`guidance_scale`", guidance_scale)
        check_number("`strength`", strength)
        if not 0 <= strength <= 1 or (strength and latents is None):
            raise ValueError(
                f"`strength` is {strength}; give a time from 0 (clean) to 1 (noise), with `latents` to noise."
            )
        if output_type not in (None, "text", "seq"):
            raise ValueError(f"`output_type` is {output_type!r}; give 'text' or 'seq'.")
        if output_type == "text" and self.tokenizer is None:
            raise ValueError("`output_type` is 'text', but the pipeline has no tokenizer: add one, or ask for 'seq'.")
        if latents is not None and not isinstance(latents, Tensor):
            raise ValueError(f"`latents` is {described(latents)}; give a tensor, as `encode` does.")
        if guidance_scale != 1 and self.model.config.latent_type == "none":
            raise ValueError(
                f"`guidance_scale` is {guidance_scale}, but the model has no latents to guide by: leave it at 1."
            )
        if latent_temperature not in (None, 1) and self.model.config.latent_type == "none":
            raise ValueError(
                f"`latent_temperature` is {latent_temperature}, but the model has no latents: give `temperature`."
            )
        if latent_temperature not in (None, 1) and latents is not None and not strength:
            raise ValueError(
                f"`latent_temperature` is {latent_temperature}, but the given `latents` are clean and none is drawn: "
                "leave it out, or give a `strength`."
            )
        if getattr(self.model.config, "separate_latent_denoiser", False) and (latents is None or strength):
            if prompt is not None:
                raise ValueError(
                    "This model denoises its latents without seeing tokens, so they would ignore the prompt: generate "
                    "without a prompt, or give `latents`."
                )
            if not self.scheduler.path.latents_first:
                raise ValueError(
                    "This model denoises its latents with a network of their own, before the tokens: use "
                    "`LaddSequentialScheduler`, or give `latents`."
                )

    def _start_latents(
        self,
        scheduler: LaddScheduler,
        latents: Tensor | None,
        strength: float,
        random: RowGenerator,
        device: torch.device,
    ) -> Tensor | None:
        length = self.model.config.latent_length
        if latents is None:
            return scheduler.prior_latents(length, random, len(random))
        scheduler.check_latents(latents, len(random), length)
        latents = latents.to(device)
        if not strength:
            return latents
        times = torch.tensor(strength, dtype=torch.float64)
        return scheduler.add_latent_noise(latents, times, random)
