"""Generation: the loop over a scheduler's steps, from pure noise to text. Paper, section 8."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any, Literal, Unpack, overload

import torch
from diffusers import DiffusionPipeline
from diffusers.utils import replace_example_docstring
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from ..diffusion.rng import Generators, RowGenerator
from ..models.eval_mode import evaluation_mode
from ..models.modeling_ladd import LaddPreTrainedModel
from ..models.vocabulary import check_tokenizer, take_vocabulary
from ..schedulers import LaddJointScheduler, LaddScheduler
from .call_checks import CheckedCalls
from .call_options import CallOptions, StepCallback
from .callbacks import TENSORS, WRITTEN, call_back, tensor_inputs
from .eos import bos_id, cut_at_eos, eos_ids, filler_id
from .guidance import GuidedDenoiser
from .inputs import (
    Length,
    Prompt,
    number_of_rows,
    one_number_of_steps,
    prompt_ids,
    repeated,
    sequence_lengths,
    start_latents,
    start_tokens,
    whole_number,
)
from .logits_processors import logits_processors, process_logits
from .lora import LoraPipelineMixin
from .parts import CheckedParts, check_model, check_scheduler
from .pipeline_output import LaddPipelineOutput, RunTuple
from .placement import PlacementMixin
from .runs import Run, RunProperties, Runs
from .saved_pipelines import SavedPipeline
from .text_latents import TextLatents
from .written_texts import written_texts

EXAMPLE_DOC_STRING = """
        Examples:
            ```python
            >>> import torch
            >>> from ladd_hf import LaddPipeline

            >>> pipe = LaddPipeline.from_pretrained("user/pipeline")
            >>> generator = torch.Generator().manual_seed(0)
            >>> output = pipe(["The cat", "A dog"], num_steps=8, num_samples_per_prompt=2, generator=generator)
            >>> len(output.texts), output.nfe  # two texts for each prompt, in 8 evaluations
            (4, 8)
            >>> again = pipe(latents=output.latents, num_steps=4, temperature=0.7)  # other texts with their latents
            >>> again.sequences.shape == output.sequences.shape
            True
            ```
"""


class LaddPipeline(
    CheckedParts,
    RunProperties,
    CheckedCalls,
    TextLatents,
    SavedPipeline,
    LoraPipelineMixin,
    PlacementMixin,
    DiffusionPipeline,
):
    """Generates text with a LADD model. Several threads may use one pipeline, each with generators of its own.

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
        self._runs = Runs()
        check_model(model)
        scheduler = LaddJointScheduler() if scheduler is None else scheduler
        check_scheduler(scheduler)
        if tokenizer is not None:
            check_tokenizer(tokenizer, model.config)
            take_vocabulary(model.config, tokenizer)
        self.register_modules(model=model, scheduler=scheduler.for_model(model.config), tokenizer=tokenizer)

    @overload
    def __call__(
        self,
        prompt: Prompt | None = None,
        num_steps: int | None = None,
        batch_size: int | None = None,
        length: Length = None,
        generator: Generators = None,
        *,
        return_dict: Literal[True] = True,
        **options: Unpack[CallOptions],
    ) -> LaddPipelineOutput: ...
    @overload
    def __call__(
        self,
        prompt: Prompt | None = None,
        num_steps: int | None = None,
        batch_size: int | None = None,
        length: Length = None,
        generator: Generators = None,
        *,
        return_dict: Literal[False],
        **options: Unpack[CallOptions],
    ) -> RunTuple: ...
    @overload
    def __call__(
        self,
        prompt: Prompt | None = None,
        num_steps: int | None = None,
        batch_size: int | None = None,
        length: Length = None,
        generator: Generators = None,
        *,
        return_dict: bool,
        **options: Unpack[CallOptions],
    ) -> LaddPipelineOutput | RunTuple: ...
    @torch.no_grad()
    @replace_example_docstring(EXAMPLE_DOC_STRING)
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
        callback_on_step_end: StepCallback | None = None,
        callback_on_step_end_tensor_inputs: Sequence[str] = ("tokens",),
        num_inference_steps: int | None = None,
        strength: float = 0.0,
        suppress_tokens: Sequence[int] | None = None,
        logits_processor: Sequence[Any] | None = None,
        stop_at_eos: bool | None = None,
        skip_idle_rows: bool = False,
        latent_temperature: float | None = None,
        num_samples_per_prompt: int = 1,
        top_k: int | None = None,
    ) -> LaddPipelineOutput | RunTuple:
        """Generates `batch_size` sequences with exactly `num_steps` evaluations of the denoiser.

        Args:
            prompt: text or ids at the start of the sequences, one for all rows or one per row, or the output of a
                tokenizer, padded or not. Only its mask tokens are replaced; with `length="prompt"` nothing else is
                generated. A text gets the special tokens that began the training texts, such as a
                beginning-of-sequence token, and with `length="prompt"` also those that ended them. Ids are used as they
                are, without padding at their ends.
            num_steps: number of denoiser evaluations, including those for the latents; `num_inference_steps` is an
                alias. Defaults to 32. (With `first_hitting` unmasking the run stops once all tokens are written.)
            batch_size: number of sequences; defaults to the number of prompts, latents or lengths, or 1, times
                `num_samples_per_prompt`.
            length: tokens per sequence, including special tokens, up to the model's `max_position_embeddings`: one
                number, one per prompt, or `"prompt"`. By default each row's is drawn from the lengths of the training
                texts if the model has them (`text_lengths`), and is the longest otherwise.
            generator: one generator, or a list with one per row; row i then equals the single run with generator i.
            temperature: temperature of token sampling; 0 is greedy. By default the scheduler's, which is 1 unless set.
            top_p: nucleus of token sampling.
            guidance_scale: w in u + w (c - u), for the logits with latents (c) and without (u); 1 disables guidance.
                Needs a model trained with `latent_dropout`. Both halves are computed in one doubled batch: one
                evaluation of twice the rows, at twice the cost of the steps that write tokens. A callback may set that
                of the steps to come, `pipe.guidance_scale`.
            latents: clean latents `(B, M, D)` or `(B, M)` to generate from, as returned by `encode` or an earlier run;
                all steps then go to the tokens.
            output_type: `text` (the default with a tokenizer) or `seq`.
            return_dict: return a [`LaddPipelineOutput`] instead of a tuple (texts or sequences, latents, nfe, lengths).
            callback_on_step_end: called as `callback(pipe, step, timestep, tensors)` after each step; the `tokens`
                and `latents` it returns replace those of the loop. Of diffusers' `PipelineCallback` and
                `MultiPipelineCallbacks` the `tensor_inputs` are taken.
            callback_on_step_end_tensor_inputs: names of the tensors passed to it, out of `tokens`, `latents`, `unmask`,
                `transfer_index`, `sampled_tokens`, `sampled_probs` and `prompt_embeds`. `unmask` marks the positions
                with logits, with unmasking by confidence more than are revealed; the next three are those of
                [`LaddSchedulerOutput`]; the last is empty, `(B, 0)`, since prompts are tokens.
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
            num_samples_per_prompt: sequences for each prompt, `latents` or `length`, next to each other in the output:
                row `i * num_samples_per_prompt + j` is the j-th of prompt i. Each has random numbers of its own; a list
                of generators has one for each row.
            top_k: number of most likely tokens to draw from, applied before `top_p`; all by default.

        Examples:

        Raises `ValueError` for arguments that do not fit each other or the model.
        """
        # 1. Arguments
        steps = one_number_of_steps(num_steps, num_inference_steps)
        self.check_inputs(prompt, guidance_scale, latents, output_type, strength, latent_temperature)
        asked = tensor_inputs(callback_on_step_end, callback_on_step_end_tensor_inputs)
        output_type = output_type or ("seq" if self.tokenizer is None else "text")
        config, device = self.model.config, self._execution_device
        own = self.scheduler = self.scheduler.for_model(config)
        samplers = {
            "sampler": own.token_sampler(temperature, top_p, top_k),
            "latent_sampler": own.latent_sampler(latent_temperature),
        }
        ends = eos_ids(config, stop_at_eos)
        processors = logits_processors(logits_processor, suppress_tokens, config)

        # 2. Rows, their randomness, and what is visible from the start
        whole = isinstance(length, str) and length == "prompt"
        prompts = prompt_ids(prompt, self.tokenizer, config, whole)
        per_prompt = whole_number(num_samples_per_prompt, "num_samples_per_prompt")
        rows = number_of_rows(batch_size, prompts, latents, length, per_prompt) * per_prompt
        prompts, latents, length = repeated(per_prompt, prompts, latents, length)
        random = RowGenerator.from_generator(generator, rows, device)
        prompts = (prompts or []) * (rows if len(prompts or []) == 1 else 1)
        lengths = sequence_lengths(length, prompts, rows, config, random)
        tokens, attention_mask = start_tokens(prompts, lengths, config, device)
        editable = tokens == config.mask_token_id

        # 3. The path, from its noisy end
        latent_time = 1.0 if latents is None else strength
        scheduler = copy.copy(own)  # a copy per run, since runs in other threads set other timesteps
        for one in (scheduler, own):  # the pipeline's own for callbacks that read it
            one.set_timesteps(steps, device, latent_time, num_tokens=int(editable.sum(1).amax()))
        latents = start_latents(latents, strength, config.latent_length, scheduler, random, device)

        # 4. The steps
        denoise = GuidedDenoiser(self.model, scheduler, attention_mask, skip_idle_rows=skip_idle_rows)
        total = len(scheduler.timesteps)
        run = Run(config, scheduler, total, guidance_scale)
        tells, ended_early = any(name in WRITTEN for name in asked), False
        with self._runs.begun(run), evaluation_mode(self.model), self.progress_bar(total=total) as progress:
            for index, timestep in enumerate(scheduler.timesteps.tolist()):
                if run.interrupt:
                    ended_early, clean = True, float(scheduler.times(timestep)[1]) == 0
                    latents = latents if clean else None
                    break
                denoise.guidance_scale = run.guidance_scale
                plan = scheduler.plan_step(timestep, tokens, latents, random, editable, attention_mask)
                output = denoise(tokens, latents, plan)
                if processors and plan.moves_tokens:
                    output.logits = process_logits(processors, output.logits, tokens, plan.unmask)
                done = scheduler.step(
                    output, timestep, tokens, latents, plan=plan, **samplers, generator=random, return_dict=tells
                )
                told = {} if isinstance(done, tuple) else {name: getattr(done, name) for name in WRITTEN}
                tokens, latents = done if isinstance(done, tuple) else (done.prev_sample, done.prev_latents)
                if callback_on_step_end is not None:
                    state = {"tokens": tokens, "latents": latents, "unmask": plan.unmask, **told}
                    tokens, latents = call_back(callback_on_step_end, self, index, timestep, state, asked, config)
                progress.update()

        # 5. Texts
        ending = torch.tensor(lengths, device=device)
        if ends is not None:
            tokens, ending = cut_at_eos(tokens, ending, editable, ends, filler_id(config, ends), bos_id(config))
        texts = None
        if output_type == "text" and self.tokenizer is not None:
            texts = written_texts(self.tokenizer, tokens, ending, config.mask_token_id, ended_early)
        self.maybe_free_model_hooks()
        result = LaddPipelineOutput(tokens, texts, latents, denoise.count, ending, denoise.row_count)
        return result if return_dict else result.to_tuple()
