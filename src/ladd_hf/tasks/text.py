"""Text of a corpus, judged by an n-gram model of its training split."""

from __future__ import annotations

import math
from collections.abc import Iterable
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
from ..data.token_blocks import separator_between
from ..metrics import NGramModel, unigram_entropy
from ..utils.local_paths import public_name
from .base import Judgement, Measure, judged

_REFERENCE_TEXTS = 2000
_TEXTS_AT_ONCE = 128


class TextTask:
    """Blocks of a corpus's text; see [`Task`].

    The judge, a character n-gram model with Witten-Bell interpolation, reads decoded texts without special tokens, so
    that models with different tokenizers are comparable. It is estimated on encoded and decoded training texts: with a
    tokenizer that changes texts, to lower case for instance, it judges in that alphabet.

    Args:
        name: name of the corpus.
        splits: its texts, `train` and `validation` or `test`, each a data set or a stream with the column `text`.
        tokenizer: with a mask token.
        length: number S of tokens of a block.
        packing: `pack`, `wrap` or `pad`; see [`token_blocks`].
        separator: text between documents if the tokenizer has neither an EOS nor a SEP token.
        truncate: truncate padded texts that are longer than a block; otherwise they continue in further ones.
        min_tokens: padded texts with fewer are left out: set it to the number of latents of the trained model.
        judge_order: number of characters of the judge's longest n-gram.
        judge_characters: number of decoded characters of the training split for the judge; the last text is read to its
            end.
        num_proc: processes that tokenize.
        fill: filling of padded texts: `padding`, or `eos`, from which a model learns where they end.

    Raises `ValueError` for a corpus without training or held-out texts, and for a tokenizer without a mask token; the
    data sets raise it for less than a block of text, and the judge, which is made on first use, for a tokenizer that
    decodes to no characters.
    """

    comparison = "perplexity vs MDLM"
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
    ) -> None:
        held_out = [split for split in ("validation", "test") if split in splits]
        if "train" not in splits or not held_out:
            raise ValueError(
                f"The corpus {name!r} has the splits {', '.join(map(repr, splits))}, but 'train' and one of "
                "'validation' and 'test' are needed: of local files, call one such as 'validation.txt', put some into "
                "a folder 'validation', or have a share of them held out (`held_out`)."
            )
        if tokenizer.mask_token_id is None:
            raise ValueError("The tokenizer has no mask token: add one with `ladd_hf.data.with_mask_token`.")
        self._held_out = held_out[0]
        self.name = f"{public_name(name)}, length {length}"
        self.splits, self.tokenizer, self.length = splits, tokenizer, length
        self.packing, self.separator, self.truncate, self.min_tokens = packing, separator, truncate, min_tokens
        self.fill = fill
        self.judge_order, self.judge_characters, self.num_proc = judge_order, judge_characters, num_proc
        roles = ("mask_token_id", "pad_token_id", "bos_token_id", "eos_token_id")
        ids = {role: getattr(tokenizer, role) for role in roles}
        self.vocabulary = {"vocab_size": len(tokenizer)} | {k: v for k, v in ids.items() if v is not None}

    @property
    def measures(self) -> tuple[Measure, ...]:
        """Measures of decoded texts. Repetitive samples have few nats and low entropy, so neither number is meaningful
        without the other."""
        about = (
            f"Negative log-likelihood in nats per character under a {self.judge_order}-gram model of the training "
            "split as the tokenizer decodes it (characters, Witten-Bell interpolation)"
        )
        varied = "the mean entropy of a sample's characters"
        return (
            Measure("nats", "nats per character", about, self._nats_per_character, "lower"),
            Measure("entropy", "unigram entropy in nats", varied, _character_entropy, digits=3),
        )

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
        return judged(self.measures, self._decoded(sequences))

    def reference(self) -> Judgement:
        """Returns the judgement of held-out blocks."""
        return self._reference

    @cached_property
    def _reference(self) -> Judgement:
        examples = self.eval_dataset(_REFERENCE_TEXTS, 0)
        return self.judge(torch.as_tensor(np.stack(examples["input_ids"]).astype(np.int64)))

    def compare(self, baseline: Judgement, other: Judgement) -> float:
        """Returns the relative difference in the judge's perplexity per character: -0.2 is 20% lower."""
        return math.expm1(other["nats"] - baseline["nats"])

    def _nats_per_character(self, texts: list[str]) -> float:
        return self._model.nats_per_character(texts)

    @cached_property
    def _model(self) -> NGramModel:
        texts = chain.from_iterable(self._decoded(ids) for ids in self._encoded("train"))
        return NGramModel(list(_first_characters(texts, self.judge_characters)), self.judge_order)

    def _encoded(self, split: str) -> Iterable[list[list[int]]]:
        """Yields the ids of the texts, batch by batch, encoded as for blocks."""
        encoder = TextEncoder(self.tokenizer)
        for rows in self.splits[split].iter(_TEXTS_AT_ONCE):
            ids, lengths = encoder(rows["text"])
            yield [part.tolist() for part in np.split(ids, lengths.cumsum()[:-1])]

    def _decoded(self, sequences: Tensor | list[list[int]]) -> list[str]:
        texts: list[str] = self.tokenizer.batch_decode(sequences, skip_special_tokens=True)
        return texts

    def _blocks(self, split: str) -> Any:
        return token_blocks(
            self.splits[split],
            self.tokenizer,
            self.length,
            self.packing,
            remainder="pad" if self.packing == "pad" else "drop",
            separator=separator_between(self.tokenizer, self.packing, self.separator),
            truncate=self.truncate,
            min_tokens=self.min_tokens,
            fill=self.fill,
            num_proc=self.num_proc,
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


def _character_entropy(texts: list[str]) -> float:
    return unigram_entropy([list(text) for text in texts])


def _first_characters(texts: Iterable[str], number: int) -> Iterable[str]:
    """Yields texts until a number of characters has been read."""
    seen = accumulate(((len(text), text) for text in texts), lambda before, here: (before[0] + here[0], here[1]))
    return (text for total, text in takewhile(lambda pair: pair[0] - len(pair[1]) < number, seen))
