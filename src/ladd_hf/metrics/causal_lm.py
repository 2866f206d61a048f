"""A causal language model as a judge of texts: its log-likelihoods of tokens, and its features of whole texts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from os import PathLike, fspath
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

from ..data.fingerprints import in_words
from ..models.eval_mode import evaluation_mode
from ..utils.digests import fingerprint, folder_digest
from ..utils.local_paths import public_name
from ..utils.number_ranges import COUNT
from ..utils.padding import padded, real_places
from ..utils.wrong_objects import described


class _Window(NamedTuple):
    """Part of a row that the model reads at once: tokens `start` to `end`, whose targets from `first` on are scored."""

    row: int
    start: int
    end: int
    first: int


class CausalJudge:
    """A causal language model of transformers, and its tokenizer.

    Args:
        model: name on the Hub, folder, or model.
        tokenizer: name, folder or tokenizer; by default the one beside the model.
        batch_size: rows read at once; no result depends on it, but for rounding.
        max_length: tokens that the model reads at once; by default all its positions.
        dtype: of a model that is loaded, such as `"bfloat16"`; float32 by default.
        device: of a model that is loaded; by default an accelerator, if there is one.

    Raises `ValueError` for a model that cannot be loaded, that is not causal, or has no tokenizer, and for `dtype` and
    `device` of a model that is loaded already.
    """

    def __init__(
        self,
        model: str | PathLike[str] | PreTrainedModel = "gpt2-large",
        tokenizer: str | PathLike[str] | PreTrainedTokenizerBase | None = None,
        batch_size: int = 16,
        max_length: int | None = None,
        dtype: str | torch.dtype | None = None,
        device: str | torch.device | None = None,
    ) -> None:
        COUNT.check("batch_size", batch_size)
        if max_length is not None:
            COUNT.check("max_length", max_length)
        self.batch_size, self._is_causal = batch_size, False
        if isinstance(model, PreTrainedModel):
            if dtype is not None or device is not None:
                raise ValueError(
                    "`dtype` and `device` are of models that are loaded by name: move the model before it is given."
                )
            self.name = public_name(model.config.name_or_path or type(model).__name__)
            tokenizer = tokenizer if tokenizer is not None else model.config.name_or_path or None
            self.model = model
        elif isinstance(model, str | PathLike):
            self.name = public_name(fspath(model))
            tokenizer = fspath(model) if tokenizer is None else tokenizer
            loaded: Any = _loaded(self.name, AutoModelForCausalLM, fspath(model), dtype=dtype or "float32")
            self.model = loaded.to(device or torch.accelerator.current_accelerator(check_available=True) or "cpu")
        else:
            raise ValueError(f"The judge is {described(model)}; give a causal LM of transformers, its name or folder.")
        if tokenizer is None:
            raise ValueError(f"The judge {self.name!r} was given without its tokenizer: give `tokenizer` as well.")
        self.tokenizer: PreTrainedTokenizerBase = (
            _loaded(self.name, AutoTokenizer, fspath(tokenizer)) if isinstance(tokenizer, str | PathLike) else tokenizer
        )
        positions = getattr(self.model.config, "max_position_embeddings", None)
        if max_length is not None and positions is not None and max_length > positions:
            raise ValueError(f"`max_length` is {max_length}, but {self.name!r} has {positions} positions: give less.")
        self.max_length: int | None = max_length or positions

    def token_ids(self, texts: Sequence[str]) -> list[list[int]]:
        """Returns each text's tokens, with the special ones that the tokenizer adds."""
        ids: list[list[int]] = self.tokenizer(list(texts), verbose=False)["input_ids"] if len(texts) else []
        return ids

    def log_likelihoods(self, rows: Sequence[Sequence[int]], stride: int | None = None) -> list[NDArray[np.float64]]:
        """Returns log p of every token of each row but the first, given those before it, in nats: `(length - 1,)` each.

        Rows longer than `max_length` are read in windows, each `stride` tokens on from the one before (half of
        `max_length` by default), so that every token is scored once, given `max_length - stride` tokens or more where
        the row has them.

        Raises `ValueError` for a stride that is not from 1 to `max_length` - 1.
        """
        self._check_causal()
        found = [np.zeros(max(len(row) - 1, 0)) for row in rows]
        for batch in self._batches(list(_windows([len(row) for row in rows], self.max_length, stride))):
            ids = [list(rows[window.row][window.start : window.end]) for window in batch]
            logits = self._read(self.model, ids).logits  # (B, S, V)
            for window, its_ids, its_logits in zip(batch, ids, logits, strict=True):
                first, last = window.first - window.start, window.end - window.start  # targets, of the window
                targets = torch.tensor(its_ids[first:last], device=logits.device)
                scores = its_logits[first - 1 : last - 1].float().log_softmax(-1)
                taken = scores.gather(-1, targets[:, None])[:, 0].double().cpu().numpy()
                found[window.row][window.first - 1 : window.end - 1] = taken
        for row, scores_of_row in enumerate(found):
            if not np.isfinite(scores_of_row).all():
                raise ValueError(
                    f"The judge {self.name!r} gives text {row} a log-likelihood that is not finite: give another "
                    "`dtype`, such as float32, or another judge."
                )
        return found

    def features(self, rows: Sequence[Sequence[int]], max_length: int | None = None) -> NDArray[np.float32]:
        """Returns the last hidden state of each row's last token, `(N, hidden size)`; of the first `max_length` tokens
        only, if given. Raises `ValueError` for an empty row."""
        self._check_causal()
        limit = min((one for one in (max_length, self.max_length) if one is not None), default=None)
        cut = [list(row[:limit]) for row in rows]
        if not all(cut):
            raise ValueError("A text has no tokens, and so no features: leave empty texts out.")
        found: dict[int, NDArray[np.float32]] = {}
        for batch in self._batches([_Window(place, 0, len(row), 0) for place, row in enumerate(cut)]):
            states = self._read(self.model.base_model, [cut[window.row] for window in batch]).last_hidden_state
            for window, state in zip(batch, states, strict=True):
                found[window.row] = state[window.end - 1].float().cpu().numpy()
        return np.stack([found[place] for place in range(len(cut))])

    def _batches(self, windows: list[_Window]) -> Iterator[list[_Window]]:
        """Yields the windows, those of like length together, so that little of a batch is padding."""
        ordered = sorted(windows, key=lambda window: window.end - window.start)
        for start in range(0, len(ordered), self.batch_size):
            yield ordered[start : start + self.batch_size]

    @torch.no_grad()
    def _read(self, model: Any, ids: list[list[int]]) -> Any:
        """Calls the model on rows, padded on the right, where a causal model cannot see from the left."""
        device = self.model.device
        with evaluation_mode(self.model):
            return model(
                input_ids=padded(ids).to(device),
                attention_mask=real_places([len(row) for row in ids]).to(device),
            )

    def _check_causal(self) -> None:
        """Raises `ValueError` if a token changes what the model predicts before it; looks once."""
        if self._is_causal:
            return
        one, other = (self._read(self.model, [ids]).logits[0, :2] for ids in ([0, 1, 2], [0, 1, 3]))
        if not torch.allclose(one, other, rtol=1e-3, atol=1e-3, equal_nan=True):  # those are refused by what they are
            raise ValueError(
                f"The judge {self.name!r} is not causal: its logits depend on later tokens. Give a causal LM."
            )
        self._is_causal = True


def judge_in_words(model: Any, tokenizer: Any = None) -> str:
    """Describes a model, and a tokenizer that is given beside it, without loading them.

    Of an object the kind, the number of parameters and a digest of the weights are told, since the name in its
    configuration may be that of other weights; of a folder its name and a digest of its files; else the name.
    """
    told = _model_in_words(model)
    if tokenizer is None:
        return told
    named = isinstance(tokenizer, str | PathLike)
    return f"{told} with the tokenizer {_source_in_words(fspath(tokenizer)) if named else in_words(tokenizer)}"


def _model_in_words(model: Any) -> str:
    if isinstance(model, PreTrainedModel):
        parameters = sum(one.numel() for one in model.parameters())
        return f"{described(model)} of {parameters:,} parameters (weights {fingerprint(model)})"
    return _source_in_words(fspath(model))


def _source_in_words(source: str) -> str:
    name = public_name(source)
    return f"{name} (files {folder_digest(source)})" if Path(source).expanduser().is_dir() else name


def _loaded(name: str, kind: Any, source: str, **options: Any) -> Any:
    try:
        return kind.from_pretrained(source, **options)
    except (OSError, ValueError) as error:
        raise ValueError(
            f"The judge {name!r} cannot be loaded: {error} Without a network, give the folder of a causal LM and its "
            "tokenizer, such as `benchmarks/train_small_judge.py` writes."
        ) from error


def _windows(lengths: Sequence[int], limit: int | None, stride: int | None) -> Iterator[_Window]:
    """Yields the windows of rows, in which each token but a row's first is a target once."""
    if limit is not None:
        if limit < 2:
            raise ValueError(f"`max_length` is {limit}; a judge needs 2 or more, a token and one before it.")
        stride = limit // 2 if stride is None else stride
        if not 1 <= stride < limit:
            raise ValueError(f"`stride` is {stride}; give 1 to {limit - 1}, less than the judge reads at once.")
    for row, length in enumerate(lengths):
        start, first = 0, 1
        while first < length:
            end = length if limit is None else min(start + limit, length)
            yield _Window(row, start, end, first)
            start, first = start + (stride or length), end
