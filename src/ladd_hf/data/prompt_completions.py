"""[`prompt_completions`]: turns prompts and their completions into examples in which the prompt is context."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from typing import Any

import datasets
import numpy as np
from datasets import Dataset, Features, IterableDataset, List, Value
from transformers import PreTrainedTokenizerBase
from transformers.utils import logging

from ..diffusion.step_counts import IGNORED_LABEL
from ..models.text_frame import TextFrame
from ..utils.number_ranges import COUNT
from ..utils.wrong_objects import described
from .encoding import TextEncoder
from .special_tokens import SpecialTokens
from .text_layout import noted
from .transforms import with_transform_applied

logger = logging.get_logger(__name__)

_VERSION = 2  # of the cached examples: change it whenever the same texts give other examples
_FEATURES = Features({"input_ids": List(Value("int32")), "labels": List(Value("int32"))})


def prompt_completions(
    dataset: Any,
    tokenizer: PreTrainedTokenizerBase,
    length: int,
    *,
    prompt_column: str = "prompt",
    completion_column: str = "completion",
    special_tokens: bool | None = None,
    truncate: bool = False,
    min_tokens: int = 1,
    fill: str = "padding",
    num_proc: int | None = None,
) -> Any:
    """Turns rows of a prompt and a completion into examples for [`LaddTrainer`].

    An example is the beginning-of-sequence token, the prompt, the completion and the end-of-sequence token, as far as
    the tokenizer has them. Its `labels` are -100 up to the end of the prompt, which is thereby context: neither noised
    nor scored, but read by the denoiser and by the latents' encoder, as [`LaddPipeline`] reads a `prompt`. Prompt and
    completion are tokenized separately, as in generation, and joined without anything between them: a space there
    belongs to one of the two.

    Args:
        dataset: a `Dataset`, an `IterableDataset`, or a dict of them by split. Other columns are left out.
        tokenizer: encodes the texts; special tokens that occur in a text are read as plain text.
        length: L, greatest number of tokens of an example. [`LaddCollator`] pads the examples of a batch.
        prompt_column, completion_column: columns of texts, or of lists of token ids, which may begin or end with the
            special tokens already.
        special_tokens: begin and end examples with these tokens; `None`: with those that the tokenizer has, CLS and SEP
            in their place if necessary.
        truncate: shorten longer examples: the prompt from its beginning, and, where that is not enough, the completion
            from its end, which then has no end-of-sequence token. Otherwise they are left out.
        min_tokens: examples with fewer tokens, special ones counted, are left out. A model with latents needs at least
            as many tokens as latents.
        fill: "padding", which is masked out, or "eos": fill examples up to `length` with end-of-sequence tokens, which
            are scored, so that a model learns where its completions end.
        num_proc: processes that tokenize a `Dataset`.

    Returns:
        The same kind of data set with `input_ids` and `labels`, int32 lists of up to L numbers. Examples without
        anything to score are left out, too; for a `Dataset` a warning counts all that are.

    Raises:
        ValueError: an invalid `length` or option, a special token that is needed but missing in the tokenizer, no such
            column, one with neither texts nor ids, or not a single example. A stream raises the latter two when it is
            read, and none for being empty.
    """
    if not isinstance(tokenizer, PreTrainedTokenizerBase):
        raise ValueError(f"`tokenizer` is {described(tokenizer)}; give a tokenizer of transformers'.")
    COUNT.check("length", length)
    COUNT.check("min_tokens", min_tokens)
    if fill not in ("padding", "eos"):
        raise ValueError(f"`fill` is {described(fill)}, but one of 'padding', 'eos' is accepted.")
    special = SpecialTokens(tokenizer, special_tokens, None)
    start, end = special.listed("bos"), special.listed("eos")
    if len(start) + len(end) >= length:
        raise ValueError(
            f"`length` is {length}, of which {len(start) + len(end)} are special tokens: give a greater length."
        )
    filler = (special.filling_end(), length) if fill == "eos" else (None, None)
    frame = TextFrame("pad", tuple(start), tuple(end), *filler)
    encoder, columns = TextEncoder(tokenizer), (prompt_column, completion_column)
    examples = _Examples(encoder, frame, length, columns, truncate, min_tokens)
    if isinstance(dataset, dict):
        return type(dataset)({name: _made(split, examples, num_proc) for name, split in dataset.items()})
    return _made(dataset, examples, num_proc)


class _Examples:
    """Makes examples of a batch of rows."""

    def __init__(
        self,
        encoder: TextEncoder,
        frame: TextFrame,
        length: int,
        columns: tuple[str, str],
        truncate: bool,
        min_tokens: int,
    ) -> None:
        self.encoder, self.frame, self.length, self.columns = encoder, frame, length, columns
        self.truncate, self.min_tokens = truncate, min_tokens

    def __call__(self, batch: dict[str, list[Any]]) -> dict[str, list[list[int]]]:
        prompts, completions = (self._ids(batch[name], name) for name in self.columns)
        made = [self._example(*pair) for pair in zip(prompts, completions, strict=True)]
        kept = [example for example in made if example is not None]
        return {"input_ids": [ids for ids, _ in kept], "labels": [labels for _, labels in kept]}

    def settings(self) -> dict[str, Any]:
        """Returns all that determines the examples, besides the texts and the tokenizer, as plain values."""
        plain = {name: value for name, value in vars(self).items() if name not in ("encoder", "frame")}
        return {**plain, "frame": self.frame.to_dict()}

    def _example(self, prompt: list[int], completion: list[int]) -> tuple[list[int], list[int]] | None:
        """Returns `input_ids` and `labels`; `None` for an example that is left out."""
        start, end = list(self.frame.start), list(self.frame.end)
        prompt = _without(self.frame.begun(prompt)[len(start) :], end, at_end=True)
        completion = _without(_without(completion, start), end, at_end=True)
        room = self.length - len(start) - len(end)
        if len(prompt) + len(completion) > room:
            if not self.truncate:
                return None
            if len(completion) > room:  # a text that goes on does not end there
                room, end = room + len(end), []
                completion = completion[:room]
            prompt = prompt[len(prompt) - min(len(prompt), room - len(completion)) :]
        ids, context = [*start, *prompt, *completion, *end], len(start) + len(prompt)
        if len(ids) < self.min_tokens or context == len(ids):
            return None
        if self.frame.fill is not None:
            ids += [self.frame.fill] * (self.length - len(ids))
        return ids, [IGNORED_LABEL] * context + ids[context:]

    def _ids(self, values: Sequence[Any], column: str) -> list[list[int]]:
        """Returns the ids of each row of a column. Raises `ValueError` for one that is neither text nor ids."""
        texts = [isinstance(value, str) for value in values]
        if values and all(texts):
            ids, lengths = self.encoder(values)
            return [one.tolist() for one in np.split(ids, lengths.cumsum()[:-1])]
        for value, is_text in zip(values, texts, strict=True):
            if not is_text and not _is_ids(value):
                begins = f" that begins with {described(value[0])}" if isinstance(value, list) and value else ""
                raise ValueError(
                    f"The column {column!r} holds {described(value)}{begins}, but a text or a list of token ids is "
                    "accepted in each row: write a conversation as one text (`tokenizer.apply_chat_template`), and "
                    "filter empty rows out."
                )
        if any(texts):
            raise ValueError(
                f"The column {column!r} holds texts in some rows and ids in others: give one of the two in all of them."
            )
        return [[int(one) for one in value] for value in values]


def _without(ids: list[int], special: list[int], at_end: bool = False) -> list[int]:
    """Returns ids without the special tokens that they begin, or end, with."""
    if not special or (ids[-len(special) :] if at_end else ids[: len(special)]) != special:
        return ids
    return ids[: -len(special)] if at_end else ids[len(special) :]


def _is_ids(value: Any) -> bool:
    """True for a list of whole numbers."""
    listed = isinstance(value, list | tuple | np.ndarray)
    return listed and all(type(one) is int or isinstance(one, np.integer) for one in value)


def _made(dataset: Any, examples: _Examples, num_proc: int | None) -> Any:
    if not isinstance(dataset, Dataset | IterableDataset):
        raise ValueError(
            f"`dataset` is {described(dataset)}; give a Dataset or an IterableDataset of the library `datasets`, or a "
            "dict of them, such as `datasets.Dataset.from_dict({'prompt': [...], 'completion': [...]})`."
        )
    names = dataset.column_names
    if names is None:  # a stream whose columns are known only from its first row
        names = list(next(iter(dataset), dict.fromkeys(examples.columns)))
    if missing := [name for name in examples.columns if name not in names]:
        raise ValueError(
            f"The data set has no column {missing[0]!r}, but {', '.join(map(repr, names))}: name the ones with prompts "
            "and completions (`prompt_column`, `completion_column`)."
        )
    if isinstance(dataset, IterableDataset):
        plain = dataset.with_format(None)
        return noted(plain.map(examples, batched=True, remove_columns=names, features=_FEATURES), examples.frame)
    dataset = with_transform_applied(dataset).with_format(None)
    tokenizer, whole = examples.encoder.fingerprint
    facts = [_VERSION, dataset._fingerprint, tokenizer, examples.settings()]
    name = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:32]
    made = dataset.map(
        examples,
        batched=True,
        remove_columns=names,
        features=_FEATURES,
        num_proc=num_proc,
        desc="Tokenizing",
        new_fingerprint=name if whole else datasets.fingerprint.generate_random_fingerprint(),
        load_from_cache_file=whole,
    )
    if not len(dataset):
        raise ValueError("The data set has no rows: give one with prompts and completions.")
    if left_out := len(dataset) - len(made):
        told = (
            f"{left_out:,} of {len(dataset):,} examples are left out, since they have more than {examples.length} "
            f"tokens (`truncate` shortens them), fewer than {examples.min_tokens} (`min_tokens`), or nothing to score."
        )
        if not len(made):
            raise ValueError(f"{told[:-1]}: give others, or another `length`.")
        logger.warning(told)
    return noted(made, examples.frame).with_format("numpy")
