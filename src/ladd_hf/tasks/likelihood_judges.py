"""Judges that give texts a likelihood: an n-gram model of the training texts, and a causal language model."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from os import PathLike, fspath
from typing import Any, ClassVar
from weakref import WeakValueDictionary

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from ..metrics.bootstrap import Estimate, bootstrap_ratio
from ..metrics.causal_lm import CausalJudge, judge_in_words
from ..metrics.generative_perplexity import perplexities, text_nats
from ..metrics.ngram_likelihood import NGramModel
from ..utils.local_paths import public_name
from ..utils.number_ranges import COUNT
from ..utils.options import Options, option
from ..utils.wrong_objects import described
from .base import Measure
from .decoded_texts import DecodedTexts
from .judges import JudgedData, Together, check_texts, register_judge

_LOADED: WeakValueDictionary[tuple[Any, ...], CausalJudge] = WeakValueDictionary()


@register_judge("ngram")
@dataclass(frozen=True)
class NGramJudge(Options):
    """Negative log-likelihood under a character n-gram model of the training texts.

    Attributes:
        order: characters of the longest n-gram; by default the task's `judge_order`.
    """

    setting: ClassVar[str] = "judges.ngram"
    order: int | None = option(None, COUNT)

    def measures(self, data: JudgedData) -> tuple[Measure, ...]:
        """Returns `nats`, in nats per character."""
        check_texts("ngram", data)
        order = self.order or data.judge_order
        about = (
            f"Negative log-likelihood in nats per character under a {order}-gram model of the training "
            "split as the tokenizer decodes it (characters, Witten-Bell interpolation)"
        )
        return (Measure("nats", "nats per character", about, _NGramScore(data, order), "lower"),)


class _NGramScore:
    """Nats per character of texts, under a model that is made on first use."""

    def __init__(self, data: JudgedData, order: int) -> None:
        self.data, self.order = data, order

    def __call__(self, texts: list[str]) -> Estimate:
        return bootstrap_ratio(self._model.nats(texts), [len(text) for text in texts])

    @cached_property
    def _model(self) -> NGramModel:
        return NGramModel(self.data.training_texts(), self.order)


@dataclass(frozen=True)
class CausalJudgeOptions(Options):
    """Options of judges that read texts with a causal language model.

    Attributes:
        model: name on the Hub, folder, or in Python a model of transformers.
        tokenizer: name, folder or tokenizer; by default the one beside the model.
        batch_size: texts read at once; no result depends on it, but for rounding.
        dtype, device: of a model that is loaded; float32, and an accelerator if there is one, by default.
    """

    model: Any = "gpt2-large"
    tokenizer: Any = None
    batch_size: int = option(16, COUNT)
    dtype: str | None = option(None, str)
    device: str | None = option(None, str)

    def __post_init__(self) -> None:
        super().__post_init__()
        if not isinstance(self.model, str | PathLike | PreTrainedModel):
            raise ValueError(
                f"`{self.setting}.model` is {described(self.model)}; give a causal LM of transformers, its name or "
                "folder."
            )
        if not isinstance(self.tokenizer, str | PathLike | PreTrainedTokenizerBase | None):
            raise ValueError(
                f"`{self.setting}.tokenizer` is {described(self.tokenizer)}; give a tokenizer of transformers, its "
                "name or folder."
            )

    def judge(self) -> CausalJudge:
        """Returns the model: the same one as long as another judge holds it."""
        sources = (one if isinstance(one, str) else id(one) for one in (self.model, self.tokenizer))
        key = (*sources, self.batch_size, self.dtype, self.device)
        if (known := _LOADED.get(key)) is None:
            known = _LOADED[key] = CausalJudge(
                self.model, self.tokenizer, self.batch_size, dtype=self.dtype, device=self.device
            )
        return known

    def checked(self, name: str, data: JudgedData) -> None:
        """Raises `ValueError` for data without texts, and for an object that is no judge, as of one that lacks its
        tokenizer; what has to be loaded is looked at when it is first used."""
        check_texts(name, data)
        if isinstance(self.model, PreTrainedModel):
            self.judge()

    @property
    def reader(self) -> str:
        """The model in words, and its dtype."""
        loaded = isinstance(self.model, PreTrainedModel)
        dtype = str(self.model.dtype).removeprefix("torch.") if loaded else self.dtype or "float32"
        return f"{judge_in_words(self.model, self.tokenizer)} in {dtype}"

    @property
    def name(self) -> str:
        """A short name of the model for tables: of an object its kind."""
        loaded = isinstance(self.model, PreTrainedModel)
        return type(self.model).__name__ if loaded else public_name(fspath(self.model))


@register_judge("generative_perplexity")
@dataclass(frozen=True)
class GenerativePerplexityJudge(CausalJudgeOptions):
    """Perplexity under a causal language model; see [`GenerativePerplexity`].

    Attributes:
        label: short name of the first measure, for tasks with two such judges.
        stride: of the windows in which long texts are read.
    """

    setting: ClassVar[str] = "judges.generative_perplexity"
    label: str = option("gen_ppl", str)
    stride: int | None = option(None, COUNT)

    def measures(self, data: JudgedData) -> tuple[Measure, ...]:
        """Returns the perplexity over all tokens, as the authors report it, and the mean of each text's own."""
        self.checked("generative_perplexity", data)
        name, scores = self.name, Together(_CausalScores(self))
        apart = "half of these" if self.stride is None else f"{self.stride:,} tokens"
        about = (
            f"perplexity under {self.reader}, in its own tokens, of which a text's first is context, and EOS is "
            f"counted once; texts beyond its positions are read in windows {apart} apart"
        )
        mean = f"the mean over texts of each one's own perplexity under {name}"
        return (
            Measure(
                self.label, f"generative perplexity under {name}", about, scores.of("perplexity"), "lower", digits=2
            ),
            Measure(
                f"{self.label}_mean",
                f"mean generative perplexity of texts under {name}",
                mean,
                scores.of("mean_perplexity"),
                "lower",
                digits=2,
            ),
        )


class _CausalScores:
    """Perplexities of texts, under a model that is loaded on first use; ends of texts are written as its own."""

    def __init__(self, options: GenerativePerplexityJudge) -> None:
        self.options = options

    def __call__(self, samples: list[str]) -> dict[str, Estimate]:
        end = self._judge.tokenizer.eos_token
        texts = samples.with_ends(end) if isinstance(samples, DecodedTexts) else samples
        found = perplexities(text_nats(self._judge, texts, self.options.stride))
        return {name: found[name] for name in ("perplexity", "mean_perplexity")}

    @cached_property
    def _judge(self) -> CausalJudge:
        return self.options.judge()
