"""lm-evaluation-harness (lm-eval) with models of this package: its model `ladd`.

    python -m ladd_hf.evaluation.harness --model_args pretrained=out/di-ladd,num_samples=64 --tasks lambada_openai

takes all flags of `lm-eval`, whose own command knows no models of other packages as of lm-eval 0.4.13; a version with
plugins (EleutherAI/lm-evaluation-harness#4013) needs no command of ours.
`accelerate launch -m ladd_hf.evaluation.harness ...` shares the texts among processes. In Python, importing this module
registers the name: `simple_evaluate("ladd", ...)`, or `simple_evaluate(LaddHarness(pretrained=pipeline), ...)`. Needs
the extra `harness`.

Log-likelihoods are minus a bound, so that they are the same or too low: by more where the bound is loose.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from accelerate import PartialState
from accelerate.utils import gather

from ..models.text_frame import TextFrame
from ..pipelines import LaddPipeline
from ..utils.optional_packages import optional_package
from .scoring import TextScorer

_model, _registry, _, _command = (
    optional_package(f"lm_eval.{module}", "lm-eval", "harness", "The evaluation of benchmarks")
    for module in ("api.model", "api.registry", "models", "__main__")  # `models` registers the harness's own
)
_LENGTHS = ("max_gen_toks", "max_new_tokens", "max_tokens", "max_completion_tokens")
_GENERATION = ("until", "do_sample", "temperature", "top_p", *_LENGTHS)
_DEFAULT_LENGTH = 256  # tokens that a task asks for if it does not say, as in the harness


class LaddHarness(_model.LM):  # type: ignore[name-defined]  # of an optional package
    """A pipeline as lm-eval's model.

    Args:
        pretrained: folder or repository of a pipeline, or the pipeline itself; with a tokenizer.
        num_samples, num_proposals, proposal_width, seed: of likelihoods; see [`TextScorer`].
        num_steps: evaluations of the denoiser for a generated text.
        batch_size: texts at once, on which nothing depends.
        device: where the model is; the accelerator, if there is one, by default, each process on its own.
        dtype: of the weights, such as `bfloat16`; as saved by default.

    Raises `ValueError` for a pipeline without a tokenizer, an unknown dtype, and what [`TextScorer`] refuses.
    """

    def __init__(
        self,
        pretrained: str | LaddPipeline,
        num_samples: int = 32,
        num_proposals: int = 0,
        num_steps: int = 32,
        batch_size: int | str = 16,
        device: str | None = None,
        dtype: str | None = None,
        seed: int = 0,
        proposal_width: float | None = None,
    ) -> None:
        super().__init__()
        pipeline: Any = pretrained
        self._state = PartialState(**({"cpu": True} if device == "cpu" else {}))
        self._rank, self._world_size = self._state.process_index, self._state.num_processes
        if not isinstance(pretrained, LaddPipeline):
            options = {} if dtype is None else {"dtype": _dtype(dtype)}
            pipeline = LaddPipeline.from_pretrained(pretrained, **options)
            pipeline.to(self._state.device if device is None or self._world_size > 1 else device)
        if pipeline.tokenizer is None:
            raise ValueError("The pipeline has no tokenizer, which benchmarks' texts need: give it one.")
        pipeline.set_progress_bar_config(disable=True)
        size = int(batch_size) if str(batch_size).isdigit() else batch_size
        self.pipeline: LaddPipeline = pipeline
        self.num_steps = num_steps
        settings: Any = num_samples, num_proposals, num_steps, size, seed, proposal_width
        self.scorer = TextScorer(pipeline, *settings)
        self._device = torch.device(getattr(pipeline.model, "device", "cpu"))

    def all_gather(self, tensor: torch.Tensor) -> torch.Tensor:
        """Returns the tensors of all processes, one after the other; a number from each as `(P,)`."""
        return tensor if self._world_size == 1 else gather(tensor.to(self._state.device))

    def gather_object(self, obj: Any, dst: int = 0) -> list[Any] | None:
        """Returns the objects of all processes in process `dst`, and `None` in the others."""
        if self._world_size == 1:
            return [obj]
        found = [None] * self._world_size if self._rank == dst else None
        torch.distributed.gather_object(obj, found, dst)
        return found

    def barrier(self) -> None:
        """Waits for all processes."""
        self._state.wait_for_everyone()

    @property
    def tokenizer_name(self) -> str:
        """Name of the tokenizer, for lm-eval's caches."""
        name: str = self.pipeline.tokenizer.name_or_path  # type: ignore[union-attr]
        return name.replace("/", "__") or type(self.pipeline.tokenizer).__name__

    def get_model_info(self) -> dict[str, Any]:
        """Returns what likelihoods depend on, for lm-eval's results."""
        scorer = self.scorer
        kind = f"marginalised, {scorer.num_proposals} proposals" if scorer.num_proposals else "plain"
        kind += "" if scorer.proposal_width is None else f" of width {scorer.proposal_width:g}"
        points = f"{self.num_steps} evaluations" if scorer.num_proposals else f"{scorer.num_samples} points"
        parameters = sum(one.numel() for one in self.pipeline.model.parameters())
        return {"model_num_parameters": parameters, "bound": f"{kind}, {points}, seed {scorer.seed}"}

    def loglikelihood(self, requests: Sequence[Any], disable_tqdm: bool = False) -> list[tuple[float, bool]]:
        """Returns, for each context and continuation, minus the bound of the continuation given the context, and
        whether it is what the model writes there greedily (`TextScorer.is_greedy`)."""
        pairs = [self._pair(*request.args) for request in requests]
        return list(zip(self.scorer.log_likelihoods(pairs), self.scorer.is_greedy(pairs), strict=True))

    def loglikelihood_rolling(self, requests: Sequence[Any], disable_tqdm: bool = False) -> list[float]:
        """Returns minus the bound of each text, however long."""
        return [self.scorer.rolling_log_likelihood(self._ids(*request.args)) for request in requests]

    def generate_until(self, requests: Sequence[Any], disable_tqdm: bool = False) -> list[str]:
        """Returns what the pipeline writes after each context, up to the first of the task's stops.

        At temperature 0 unless the task samples. Where context and text do not fit the model, the context loses its
        beginning, and half of the model's positions at most are written. Raises `ValueError` for generation options of
        a task that the pipeline does not support.
        """
        return [self._generated(*request.args) for request in requests]

    def _generated(self, context: str, options: Mapping[str, Any]) -> str:
        if unknown := [name for name in options if name not in _GENERATION]:
            raise ValueError(
                f"The task generates with {unknown[0]!r}, which this model does not support; give "
                f"some of {list(_GENERATION)}."
            )
        sampled = options.get("do_sample", "temperature" in options)
        temperature = options.get("temperature") if sampled else 0.0  # `None` is the scheduler's own
        asked = next((options[name] for name in _LENGTHS if options.get(name) is not None), _DEFAULT_LENGTH)
        start, longest = TextFrame.of(self.pipeline.model.config).start, self.scorer.longest
        ids = self._ids(context)
        fits = len(ids) + len(start) + asked <= longest
        length = asked if fits else min(asked, longest // 2)
        room = longest - length - len(start)
        prompt = [*start, *ids[max(0, len(ids) - room) :]]
        tokenizer: Any = self.pipeline.tokenizer
        (new,) = self.scorer.written(
            [prompt], [length], self.num_steps, temperature=temperature, top_p=options.get("top_p", 1.0)
        )
        text: str = tokenizer.decode(new, skip_special_tokens=True)
        until = options.get("until") or []
        for stop in [until] if isinstance(until, str) else until:
            text = text.split(stop)[0] if stop else text
        return text

    def _ids(self, text: str) -> list[int]:
        """Returns the ids of a text, without the special tokens that frame one."""
        ids: list[int] = self.pipeline.tokenizer(text, add_special_tokens=False).input_ids  # type: ignore[misc]
        return ids

    def _pair(self, context: str, continuation: str) -> tuple[list[int], list[int]]:
        """Returns the ids of the two, cut out of those of both together; spaces between them are the continuation's."""
        bare = context.rstrip()
        whole, before = self._ids(context + continuation), self._ids(bare) if bare else []
        return whole[: len(before)], whole[len(before) :]


def _dtype(name: str) -> torch.dtype:
    dtype = getattr(torch, name, None)
    if not isinstance(dtype, torch.dtype):
        raise ValueError(f"`dtype` is {name!r}; give one of torch's, such as 'float32' or 'bfloat16'.")
    return dtype


def main(argv: list[str]) -> None:
    """Runs lm-eval's command with the model `ladd`, unless another one is named."""
    named = any(flag.split("=")[0] in ("--model", "-M") for flag in argv)
    sys.argv = ["lm-eval", *argv, *([] if named or argv[:1] in (["ls"], ["validate"]) else ["--model", "ladd"])]
    _command.cli_evaluate()


_registry.register_model("ladd")(LaddHarness)

if __name__ == "__main__":
    main(sys.argv[1:])
