"""Generation: the loop over a scheduler's steps, from all noise to text. Paper, section 8."""

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

from ..diffusion.masked import TokenSampler
from ..diffusion.rng import RowGenerator
from ..models.adapters import has_adapters, merged
from ..models.eval_mode import evaluation_mode
from ..models.modeling_ladd import LaddForDiffusionLM, LaddPreTrainedModel
from ..models.vocabulary import check_tokenizer, has_tokens_of, take_vocabulary
from ..schedulers import LaddJointScheduler, LaddScheduler, LaddSequentialScheduler
from ..schedulers.scheduling_ladd import Generators
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
    """What a run gives.

    Attributes:
        sequences: `(B, S)` token ids, padded behind rows that are shorter or ended.
        texts: the decoded sequences, or `None` for `output_type="seq"`.
        latents: `(B, M, D)` or `(B, M)` clean latents the sequences were written from, or `None`.
        nfe: number of denoiser evaluations, latents' steps included.
        lengths: `(B,)` tokens of each row, padding not counted.
    """

    sequences: Tensor
    texts: list[str] | None = None
    latents: Tensor | None = None
    nfe: int = 0
    lengths: Tensor | None = None


class LaddPipeline(LoraPipelineMixin, PlacementMixin, DiffusionPipeline):
    """Generates text with a LADD model.

    Args:
        model: the denoiser, a [`LaddForDiffusionLM`] or anything with its call and a `config`.
        scheduler: the inference schedule; joint if not given. It takes its noise processes from the model.
        tokenizer: for texts; without one, `output_type="seq"` gives ids. It tells the model's configuration which ids
            are tokens: others are never written. One that is frozen has to say so itself.
    """

    model_cpu_offload_seq = "model"
    _optional_components = ["scheduler", "tokenizer"]  # what has a default: a pipeline is saved without it as well
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
        """Parts are looked at whenever they are set. Raises `ValueError` for what cannot be that part."""
        if name == "model":
            check_model(value)
        elif name == "scheduler":
            check_scheduler(value)
        elif name == "tokenizer" and value is not None:
            check_tokenizer(value, self.model.config)
        if name == "tokenizer" and value is not None and self.__dict__.get(name, value) is None:
            del self.__dict__[name]  # registered anew, for one that takes the place of none is else not saved
            return self.register_modules(tokenizer=value)
        if name in ("model", "tokenizer"):
            parts = {part: self.__dict__.get(part) for part in ("model", "tokenizer")}
            self._introduce(**{**parts, name: value})
        super().__setattr__(name, value)

    @staticmethod
    def _introduce(model: Any, tokenizer: PreTrainedTokenizerBase | None) -> None:
        """Tells a model whose tokenizer this is, unless it waits for its own."""
        if tokenizer is None or not has_tokens_of(model.config, tokenizer):
            return
        take_vocabulary(model.config, tokenizer)
        if isinstance(model, LaddForDiffusionLM):
            model.set_tokenizer(tokenizer)

    @classmethod
    def download(cls, pretrained_model_name: str, **kwargs: Any) -> str:
        """Fetches a pipeline's repository from the Hub and returns its folder in the cache.

        It takes `cache_dir`, `force_download`, `local_files_only`, `token` and `revision`. The repository's own Python
        files are left there: this class and the installed package are the code.
        """
        options = {name: kwargs[name] for name in _DOWNLOAD_OPTIONS if name in kwargs}
        return snapshot_download(pretrained_model_name, ignore_patterns=["*.py"], **options)

    @classmethod
    def load_config(cls, pretrained_model_name_or_path: str | os.PathLike, **kwargs: Any) -> Any:
        """As of any pipeline. Its classes are this package's, not the files that stand for them in the repository, and
        a folder that holds a model alone is a pipeline with the default scheduler."""
        folder = Path(pretrained_model_name_or_path)
        index = None if (folder / cls.config_name).is_file() else index_of_a_model(folder)
        loaded = super().load_config(folder, **kwargs) if index is None else index
        classes = (LaddForDiffusionLM, LaddScheduler, LaddJointScheduler, LaddSequentialScheduler)
        modules = {one.__name__: one.__module__ for one in classes}
        if isinstance(loaded, tuple):
            return without_files(loaded[0], modules), *loaded[1:]
        return without_files(loaded, modules)

    def to_json_file(self, json_file_path: str | os.PathLike) -> None:
        """Writes `model_index.json`, and beside it what lets diffusers load the pipeline by itself."""
        super().to_json_file(json_file_path)
        write_imports(Path(json_file_path), type(self))

    def save_pretrained(self, save_directory: str | os.PathLike, *args: Any, **kwargs: Any) -> None:
        """As of any pipeline, and whole: of a model with adapters, a copy in which the active ones are merged.

        `pipe.model.save_pretrained` saves an adapter alone. Raises `ValueError` where the folder would be there is a
        file.
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
        temperature: float = 1.0,
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
    ) -> LaddPipelineOutput | tuple[Any, ...]:
        """Generates `batch_size` sequences with exactly `num_steps` evaluations of the denoiser.

        Args:
            prompt: text or ids that the sequences start with, one for all or one per row, or all that a tokenizer gave,
                padding and all. Never changed, but for its mask tokens, which are filled in (with `length="prompt"`,
                and nothing else is). A text is read with what began the texts of the model's training, such as a
                beginning-of-sequence token, and with `length="prompt"` as a whole one; ids are taken as they are, but
                for padding at their ends.
            num_steps: number of denoiser evaluations, the latents' included; `num_inference_steps` is the same. 32 if
                neither is given. (A scheduler that unmasks by `first_hitting` stops once everything is written.)
            batch_size: number of sequences; the number of prompts, of latents or of lengths, or 1, if not given.
            length: tokens per sequence, special ones counted, one number or one per row, or `"prompt"`. If not given,
                each row's is drawn from the lengths of the training texts, where the model knows those
                (`text_lengths`), or else the model's `max_position_embeddings`.
            generator: one generator, or a list with one per row: row i then equals the single run with generator i.
            temperature: of the token draw; 0 is greedy.
            top_p: nucleus of the token draw.
            guidance_scale: w in u + w (c - u), on the logits given the latents (c) and given none (u); 1 is without.
                It needs a model trained with `latent_dropout`. Both are computed in one doubled batch.
            latents: clean latents `(B, M, D)` or `(B, M)` to write from, from `encode` or an earlier run; all steps
                then go to the tokens.
            output_type: `text` (the default with a tokenizer) or `seq`.
            return_dict: return a [`LaddPipelineOutput`] or a tuple of (texts or sequences, latents, nfe, lengths).
            callback_on_step_end: called as `callback(pipe, step, timestep, tensors)` after each step; the `tokens`
                and `latents` it returns replace the loop's.
            callback_on_step_end_tensor_inputs: which of `tokens`, `latents`, `unmask` it is given; `unmask` is where
                the step had logits, which with an order by confidence is more than it revealed.
            strength: time t_y in [0, 1] to which the given `latents` are noised again before they are resolved
                along the scheduler's path: 0 writes from them as they are, 1 is as good as none.
            suppress_tokens: ids that are never written.
            logits_processor: transformers' logits processors, or your own, called as
                `processor(input_ids, scores)` with a line for each position that is written: its row's tokens as they
                are, `(n, S)`, and the scores `(n, V)`; one that takes `positions` is given the places, `(n,)`.
            stop_at_eos: end each text with the first end-of-sequence token that is written; if not given, where the
                texts of the model's training were filled up with them.
            skip_idle_rows: leave out of each evaluation the rows in which the step reveals nothing. The samples are
                the same, sooner, where there are more steps than tokens; evaluations left without a row are not made,
                and not counted.

        Raises `ValueError` with one sentence for arguments that do not fit each other or the model.
        """
        # 1. Arguments
        steps = one_number_of_steps(num_steps, num_inference_steps)
        sampler = TokenSampler(temperature, top_p)
        self.check_inputs(prompt, guidance_scale, latents, output_type, strength)
        check_callback(callback_on_step_end, callback_on_step_end_tensor_inputs)
        output_type = output_type or ("seq" if self.tokenizer is None else "text")
        config, device = self.model.config, self._execution_device
        self.scheduler = self.scheduler.for_model(config)
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
        scheduler = copy.copy(self.scheduler)  # the run's own: another thread's run lays other steps
        for one in (scheduler, self.scheduler):  # the pipeline's for whoever asks it, such as a callback
            one.set_timesteps(steps, device, latent_time, num_tokens=int(editable.sum(1).amax()))
        latents = self._start_latents(scheduler, latents, strength, random, device)

        # 4. The steps
        denoise = GuidedDenoiser(self.model, scheduler, attention_mask, guidance_scale, skip_idle_rows)
        total = scheduler.num_inference_steps
        with evaluation_mode(self.model), self.progress_bar(total=total) as progress:
            for index, timestep in enumerate(scheduler.timesteps.tolist()):
                plan = scheduler.plan_step(timestep, tokens, latents, random, editable)
                output = denoise(tokens, latents, plan)
                if processors and plan.moves_tokens:
                    output.logits = process_logits(processors, output.logits, tokens, plan.unmask)
                tokens, latents = scheduler.step(
                    output, timestep, tokens, latents, plan=plan, sampler=sampler, generator=random, return_dict=False
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
        return LaddPipelineOutput(sequences=tokens, texts=texts, latents=latents, nfe=denoise.count, lengths=ending)

    # --- latents of texts ---

    def encode(self, text: Prompt) -> Tensor:
        """Clean latents of texts, `(B, M, D)` vectors or `(B, M)` codes, to give to a call as `latents`.

        `text` is one text or several, or their ids, as a `prompt`; a text is framed at both ends as the texts of the
        training were. Raises `ValueError` for texts with fewer tokens than latents, with mask tokens or longer than the
        model's, and for a model without latents.
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
                f"{max(config.latent_length, 1)} to {config.max_position_embeddings} each."
            )
        for number, ids in enumerate(rows):
            check_ids(ids, config, f"Text {number}", masked=False)
        tokens, mask = padded_texts(rows, getattr(config, "pad_token_id", None) or 0)
        if (hook := getattr(self.model, "_hf_hook", None)) is not None:
            hook.pre_forward(self.model)  # a model that is kept off the device comes to it for its forward alone
        return self.model.encode_latents(tokens.to(device), None if mask is None else mask.to(device))

    def variations(
        self, text: Prompt, strength: float = 0.5, batch_size: int = 1, **options: Any
    ) -> LaddPipelineOutput | tuple[Any, ...]:
        """Texts like `text`, one text or its ids: its latents, noised to the time `strength` and resolved anew.

        `options` are a call's; the texts are as long as `text`, unless they say otherwise.
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
        """`batch_size` texts on the way from one to another, written from latents between theirs.

        The first row is written from the first text's latents, the last from the second's. Lengths go from one to the
        other, unless `options`, which are a call's, say otherwise.
        """
        (ids,), (other_ids,) = self._single(first, "first"), self._single(second, "second")
        batch_size = whole_number(batch_size, "batch_size")
        weights = torch.linspace(0, 1, batch_size, dtype=torch.float64)
        order = RowGenerator.from_seed(0, torch.zeros(1, dtype=torch.int64))  # the same places first, each time
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
    ) -> None:
        """Raises `ValueError` for options of a call that cannot work, alone or together."""
        if self.tokenizer is not None:  # another model may have taken the place of its own
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
        if getattr(self.model.config, "separate_latent_denoiser", False) and (latents is None or strength):
            if prompt is not None:
                raise ValueError(
                    "This model denoises its latents without seeing tokens, so they would ignore the prompt: generate "
                    "without a prompt, or give `latents`."
                )
            if self.scheduler.path.moves_both:
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
