"""Text of a corpus, judged by an n-gram model of its training split, and by any other judges."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from itertools import accumulate, chain, islice, takewhile
from typing import Any

import datasets
import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from ..data import BlockStream, token_blocks
from ..data.encoding import TextEncoder
from ..data.fingerprints import in_words
from ..data.token_blocks import separator_between
from ..utils.local_paths import public_name
from .base import Judgement, Measure, counts_of_data, judged, judged_data, relative_change
from .decoded_texts import DecodedTexts, without_special
from .judges import JudgeSpec, measures_of

DEFAULT_JUDGES = ("ngram", "entropy")
JUDGE_HELD_OUT = 2000
_TEXTS_AT_ONCE = 128


class TextTask:
    """Blocks of a corpus's text; see [`Task`].

    The judges read decoded texts without special tokens, so that models with different tokenizers are comparable. By
    default they are a character n-gram model with Witten-Bell interpolation, and the entropy of a text's characters.
    The n-gram model is estimated on encoded and decoded training texts: with a tokenizer that changes texts, to lower
    case for instance, it judges in that alphabet.

    Args:
        name: name of the corpus.
        splits: its texts, `train` and `validation` or `test`, each a data set or a stream with the column `text`.
            Without `train`, if `held_out_split` is named: then no judge that reads training texts can be asked.
        tokenizer: with a mask token.
        length: number S of tokens of a block.
        packing: `pack`, `wrap` or `pad`; see [`token_blocks`].
        separator: text between documents if the tokenizer has neither an EOS nor a SEP token.
        truncate: truncate padded texts that are longer than a block; otherwise they continue in further ones.
        min_tokens: padded texts with fewer are left out: set it to the number of latents of the trained model.
        judge_order: number of characters of the n-gram judge's longest n-gram.
        judge_characters: number of decoded characters of the training split for judges; the last text is read to its
            end.
        judge_held_out: number of held-out blocks for judges; twice that of the samples lets the data be scored by as
            many, also where samples are compared with one half of them.
        held_out_split: name of the split that is held out; `validation`, else `test`, by default.
        block_options: further options of [`token_blocks`], in place of those that follow from the task's.
        judges: names, `name` and options, or objects; see `tasks/judges.py`. Samples are compared by the first measure
            of the first one. Repetitive samples have few nats and low entropy, so neither number is meaningful without
            the other.
        num_proc: processes that tokenize.
        fill: filling of padded texts: `padding`, or `eos`, from which a model learns where they end.

    Raises `ValueError` for a corpus without training or held-out texts, and for a tokenizer without a mask token; the
    data sets raise it for less than a block of text, and the n-gram judge, which is made on first use, for a tokenizer
    that decodes to no characters. An unknown judge, and one with unknown options, are refused here.
    """

    exact = False

    def __init__(
        self,
        name: str,
        splits: dict[str, Any],
        tokenizer: PreTrainedTokenizerBase,
        length: int,
        packing: str = "pack",
        separator: str = " ",
        truncate: bool = False,
        min_tokens: int = 1,
        judge_order: int = 6,
        judge_characters: int = 20_000_000,
        num_proc: int | None = None,
        fill: str = "padding",
        judges: Sequence[JudgeSpec] = DEFAULT_JUDGES,
        judge_held_out: int = JUDGE_HELD_OUT,
        held_out_split: str | None = None,
        block_options: Mapping[str, Any] | None = None,
    ) -> None:
        if held_out_split is not None and held_out_split not in splits:
            raise ValueError(
                f"`held_out_split` is {held_out_split!r}, and the corpus {name!r} has the splits "
                f"{', '.join(map(repr, splits))}: give one of them."
            )
        held_out = (
            [held_out_split] if held_out_split else [split for split in ("validation", "test") if split in splits]
        )
        if (held_out_split is None and "train" not in splits) or not held_out:
            raise ValueError(
                f"The corpus {name!r} has the splits {', '.join(map(repr, splits))}, but 'train' and one of "
                "'validation' and 'test' are needed: of local files, call one such as 'validation.txt', put some into "
                "a folder 'validation', or have a share of them held out (`held_out`), if there is enough text."
            )
        if tokenizer.mask_token_id is None:
            raise ValueError("The tokenizer has no mask token: add one with `ladd_hf.data.with_mask_token`.")
        self._held_out = held_out[0]
        self.name = f"{public_name(name)}, length {length}"
        self.splits, self.tokenizer, self.length = splits, tokenizer, length
        self.packing, self.separator, self.truncate, self.min_tokens = packing, separator, truncate, min_tokens
        self.fill, self._block_options = fill, dict(block_options or {})
        self.judge_order, self.judge_characters, self.num_proc = judge_order, judge_characters, num_proc
        self.judge_held_out = judge_held_out
        self._references: dict[int | None, Judgement] = {}
        roles = ("mask_token_id", "pad_token_id", "bos_token_id", "eos_token_id")
        ids = {role: getattr(tokenizer, role) for role in roles}
        self.vocabulary = {"vocab_size": len(tokenizer)} | {k: v for k, v in ids.items() if v is not None}

        self._measures = measures_of(judges, self)
        if not self._measures:
            raise ValueError(
                "`judges` is empty, and samples are compared by the first: give one or more, such as 'ngram'."
            )

    @property
    def measures(self) -> tuple[Measure, ...]:
        """Measures of decoded texts, those of each judge after those of the one before."""
        return self._measures

    @property
    def comparison(self) -> str:
        """Name of the result of [`compare`]."""
        name = self._measures[0].name
        return f"{'perplexity' if name == 'nats' else name} vs MDLM"

    @property
    def layout(self) -> dict[str, Any]:
        """Split that is held out, tokenizer, and settings of its blocks as far as they have an effect, as JSON data."""
        found: dict[str, Any] = {"split": self._held_out, "tokenizer": in_words(self.tokenizer)}
        if self.packing == "pad":
            found |= {name: getattr(self, name) for name in ("packing", "fill", "truncate", "min_tokens")}
        else:
            separator = separator_between(self.tokenizer, self.packing, self.separator)
            found |= {"packing": self.packing, "separator": separator}
        return {**found, **self._block_options}

    @property
    def num_held_out(self) -> int:
        """Number of held-out blocks; of a stream, more than there are."""
        blocks = self._blocks(self._held_out)
        return sys.maxsize if isinstance(blocks, BlockStream) else len(blocks)

    def train_dataset(self, num_examples: int, seed: int) -> Any:
        """Returns blocks of the training split; a run repeats them as often as needed, in a new order each time."""
        blocks = self._blocks("train")
        if not isinstance(blocks, BlockStream):
            return blocks
        self._first(blocks, 1, "train")
        return blocks.shuffle(seed).repeat()

    def eval_dataset(self, num_examples: int, seed: int) -> Any:
        """Returns held-out blocks, spread over the validation (or test) split; of a stream the first ones."""
        blocks = self._blocks(self._held_out)
        if isinstance(blocks, BlockStream):
            rows = self._first(blocks, max(num_examples, 1), self._held_out)
            return datasets.Dataset.from_list(rows[:num_examples]).with_format("numpy")
        places = np.linspace(0, len(blocks) - 1, min(num_examples, len(blocks))).round().astype(int)
        return blocks.select(places)

    def judge(self, sequences: Tensor) -> Judgement:
        """Returns the measures of the decoded samples."""
        return judged(self.measures, DecodedTexts(sequences, self.tokenizer))

    def reference(self, num_samples: int | None = None) -> Judgement:
        """Returns the judgement of held-out blocks, beside that of `num_samples` samples; see [`Task`]."""
        if num_samples not in self._references:
            self._references[num_samples] = judged_data(self.measures, self, num_samples)
        return self._references[num_samples]

    def reference_counts(self, num_samples: int | None = None) -> dict[str, int]:
        """Returns the number of held-out blocks that each measure which depends on it is given; see [`Task`]."""
        return counts_of_data(self.measures, self, num_samples)

    def compare(self, baseline: Judgement, other: Judgement) -> float:
        """Returns the relative difference in the first measure, -0.2 is 20% lower; of nats per character, that of the
        perplexity per character."""
        name = self._measures[0].name
        return relative_change(name, baseline[name], other[name])

    def held_out(self) -> DecodedTexts:
        """Returns held-out blocks, at most `judge_held_out`, spread over the split."""
        return self._held_out_texts

    @cached_property
    def _held_out_texts(self) -> DecodedTexts:
        examples = self.eval_dataset(self.judge_held_out, 0)
        return DecodedTexts(torch.as_tensor(np.stack(examples["input_ids"]).astype(np.int64)), self.tokenizer)

    def held_out_halves(self) -> tuple[DecodedTexts, DecodedTexts]:
        """Returns those at even and those at odd places. Raises `ValueError` if there is only one."""
        ids = self.held_out().ids
        if len(ids) < 2:
            raise ValueError("There is one held-out block, which has no two halves: give more held-out text.")
        return DecodedTexts(ids[::2], self.tokenizer), DecodedTexts(ids[1::2], self.tokenizer)

    def training_texts(self) -> list[str]:
        """Returns the first training texts, encoded and decoded, up to `judge_characters` characters."""
        return self._training_texts

    @cached_property
    def _training_texts(self) -> list[str]:
        texts = chain.from_iterable(self._decoded(ids) for ids in self._encoded("train"))
        return list(_first_characters(texts, self.judge_characters))

    def training_ids(self) -> Iterable[list[int]]:
        """Yields the ids of the same texts, without special tokens."""
        rows = chain.from_iterable(self._encoded("train"))
        for _, row in zip(self.training_texts(), rows, strict=False):
            yield from without_special([row], self.tokenizer)

    def _encoded(self, split: str) -> Iterable[list[list[int]]]:
        """Yields the ids of the texts, batch by batch, encoded as for blocks."""
        if split not in self.splits:
            raise ValueError(
                f"The corpus of {self.name} was read without training texts, which judges read: give one with a split "
                "'train', or judge no samples."
            )
        encoder = TextEncoder(self.tokenizer)
        for rows in self.splits[split].iter(_TEXTS_AT_ONCE):
            ids, lengths = encoder(rows["text"])
            yield [part.tolist() for part in np.split(ids, lengths.cumsum()[:-1])]

    def _decoded(self, sequences: list[list[int]]) -> list[str]:
        texts: list[str] = self.tokenizer.batch_decode(sequences, skip_special_tokens=True)
        return texts

    def _blocks(self, split: str) -> Any:
        options: dict[str, Any] = {
            "remainder": "pad" if self.packing == "pad" else "drop",
            "separator": separator_between(self.tokenizer, self.packing, self.separator),
            "truncate": self.truncate,
            "min_tokens": self.min_tokens,
            "fill": self.fill,
            "num_proc": self.num_proc,
        }
        return token_blocks(
            self.splits[split], self.tokenizer, self.length, self.packing, **{**options, **self._block_options}
        )

    def _first(self, blocks: BlockStream, number: int, split: str) -> list[dict[str, Any]]:
        """Returns the first blocks of a stream; reading them now reports an empty stream before anything is trained."""
        if rows := list(islice(blocks, number)):
            return rows
        if self.packing == "pad":
            raise ValueError(
                f"No text of the split {split!r} has {self.min_tokens} tokens or more (`min_tokens`): give longer "
                "texts, or pack them."
            )
        raise ValueError(
            f"The texts of the split {split!r} do not fill a single block of {self.length} tokens: give more text, or "
            "a smaller `length`."
        )


def _first_characters(texts: Iterable[str], number: int) -> Iterable[str]:
    """Yields texts until a number of characters has been read."""
    seen = accumulate(((len(text), text) for text in texts), lambda before, here: (before[0] + here[0], here[1]))
    return (text for total, text in takewhile(lambda pair: pair[0] - len(pair[1]) < number, seen))
