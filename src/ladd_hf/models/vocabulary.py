"""The ids that a model reads and generates, according to its tokenizer, and checks of texts.

The mask token, the padding token (unless it has another role in texts, such as their end) and ids without a token,
which fill up a vocabulary to a convenient size, are never generated and have no probability.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from ..diffusion.step_counts import IGNORED_LABEL
from ..utils.number_ranges import COUNT
from ..utils.wrong_objects import described
from .text_frame import TextFrame

_ROLES = ("mask", "pad", "bos", "eos", "unk", "sep", "cls")
# Special tokens in texts: a padding token that is one of these is text wherever the attention mask is 1.
WRITTEN_ROLES = tuple(f"{role}_token_id" for role in _ROLES[2:])
_TAKEN = ("pad_token_id", *WRITTEN_ROLES)
_KEPT = ("pad_token_id", "bos_token_id", "eos_token_id")  # in any configuration; others if they pad


def ids_of(config: Any, role: str) -> list[int]:
    """Returns the ids of a role such as `eos_token_id` in a configuration or a tokenizer: none, one, or several."""
    given = getattr(config, role, None)
    return [] if given is None else list(given) if isinstance(given, list | tuple) else [given]


def unwritten_padding(config: Any) -> int | None:
    """Returns the padding token's id, or `None` if there is none or if it has another role in texts as well."""
    pad: int | None = getattr(config, "pad_token_id", None)
    return None if any(pad in ids_of(config, role) for role in WRITTEN_ROLES) else pad


@dataclass(frozen=True)
class Vocabulary:
    """The ids of a model, and those that are never generated.

    Attributes:
        mask_token_id: of the mask token, `None` if unknown.
        pad_token_id: of the padding token, `None` if there is none or if it has another role in texts.
        tokenizer_size: ids from it on have no token; `None`: all have one.
        size: number of ids, `None` if it is not needed.
    """

    mask_token_id: int | None
    pad_token_id: int | None = None
    tokenizer_size: int | None = None
    size: int | None = None

    @classmethod
    def of(cls, config: Any) -> Vocabulary:
        """Returns the vocabulary of a model's configuration."""
        size, tokens = getattr(config, "vocab_size", None), getattr(config, "tokenizer_size", None)
        return cls(config.mask_token_id, unwritten_padding(config), tokens, size)

    def never_written(self, size: int, device: torch.device | str | None = None) -> Tensor:
        """Marks the ids from 0 to `size` - 1 without probability, `(size,)` bool, without synchronising with the
        device."""
        ids = torch.arange(size, device=device)
        never = ids == (-1 if self.mask_token_id is None else self.mask_token_id)
        if self.pad_token_id is not None:
            never = never | (ids == self.pad_token_id)
        return never if self.tokenizer_size is None else never | (ids >= self.tokenizer_size)

    def without_unwritten(self, logits: Tensor) -> Tensor:
        """Sets the logits `(..., V)` of ids that are never generated to minus infinity."""
        return logits.masked_fill(self.never_written(logits.shape[-1], logits.device), -torch.inf)

    def check_ids(self, ids: Tensor, name: str) -> None:
        """Raises `ValueError` for ids outside of the vocabulary. Synchronises with their device."""
        if self.size is None or not ids.numel() or 0 <= int(ids.min()) <= int(ids.max()) < self.size:
            return
        wrong = int(ids[(ids < 0) | (ids >= self.size)][0])
        raise ValueError(
            f"{name} hold the id {wrong}, which is outside of the model's vocabulary (0 to {self.size - 1}): read "
            "texts with the tokenizer the model was made for, or give it more with `resize_token_embeddings`."
        )

    def check_text(self, ids: Tensor, scored: Tensor, name: str) -> None:
        """Raises `ValueError` for ids `(B, S)` outside of the vocabulary, and for ids without probability that are
        `scored` `(B, S)`: their loss would be infinite. Synchronises with their device."""
        self.check_ids(ids, name)
        size = int(ids.max()) + 1 if self.size is None and ids.numel() else self.size or 0
        wrong = self.never_written(size, ids.device)[ids] & scored
        if not bool(wrong.any()):
            return
        found = int(ids[wrong][0])
        if found == self.mask_token_id:
            what, advice = "the mask token", "take it out of the texts"
        elif found == self.pad_token_id:
            what = "the padding token"
            advice = (
                "give an `attention_mask` of 0 there, or if it stands for something in texts, name it in the model's "
                "configuration as that as well, such as their end (`eos_token_id`) or what is unknown (`unk_token_id`)"
            )
        else:
            what = f"beyond the tokenizer's {self.tokenizer_size} tokens an id"
            advice = "read texts with the tokenizer the model was made for"
        raise ValueError(
            f"{name} hold {what} (id {found}), to which the model gives no probability: {advice}, or give the label "
            f"{IGNORED_LABEL} there."
        )


def tokenizer_size(tokenizer: PreTrainedTokenizerBase) -> int:
    """Returns the least number above all ids of a tokenizer, whose ids may have gaps."""
    return max(len(tokenizer), 1 + max(tokenizer.get_vocab().values(), default=-1))


def check_mask_is_its_own(tokenizer: PreTrainedTokenizerBase) -> None:
    """Raises `ValueError` for a tokenizer whose mask token is another special token as well."""
    mask = tokenizer.mask_token_id
    shared = [role for role in _ROLES[1:] if mask is not None and getattr(tokenizer, f"{role}_token_id", None) == mask]
    if shared:
        raise ValueError(
            f"The tokenizer's mask token {tokenizer.mask_token!r} (id {mask}) is its `{shared[0]}_token` as well, so "
            "texts would hold what stands for noise: give it a mask token of its own with "
            '`tokenizer.add_special_tokens({"mask_token": "[MASK]"})`.'
        )


def has_tokens_of(config: Any, tokenizer: PreTrainedTokenizerBase) -> bool:
    """True if a model's mask token is the tokenizer's, and the model has all of its tokens."""
    same_mask = tokenizer.mask_token_id == config.mask_token_id
    return same_mask and tokenizer_size(tokenizer) <= config.vocab_size


def check_tokenizer(tokenizer: PreTrainedTokenizerBase, config: Any) -> None:
    """Raises `ValueError` unless the tokenizer's mask token is the model's and its own, and the model has all of its
    tokens."""
    if not isinstance(tokenizer, PreTrainedTokenizerBase):
        raise ValueError(
            f"The tokenizer is {described(tokenizer)}; give one of transformers', such as "
            "AutoTokenizer.from_pretrained loads."
        )
    if tokenizer.mask_token_id is None:
        raise ValueError(
            "The tokenizer has no mask token, which the model writes over: add one with "
            '`tokenizer.add_special_tokens({"mask_token": "[MASK]"})`, as the model\'s id '
            f"{config.mask_token_id}."
        )
    if tokenizer.mask_token_id != config.mask_token_id:
        raise ValueError(
            f"The tokenizer's mask token has id {tokenizer.mask_token_id}, the model's `mask_token_id` is "
            f"{config.mask_token_id}: use the tokenizer the model was trained with."
        )
    check_mask_is_its_own(tokenizer)
    if (size := tokenizer_size(tokenizer)) > config.vocab_size:
        raise ValueError(
            f"The tokenizer has {size} tokens, the model's `vocab_size` is {config.vocab_size}: use the "
            "tokenizer the model was trained with, or give the model more with `resize_token_embeddings`."
        )


def take_vocabulary(config: Any, tokenizer: PreTrainedTokenizerBase) -> None:
    """Sets the number of the tokenizer's ids in a configuration, and, if missing there, the ids that pad, begin and end
    texts, and other roles of the padding token.

    Raises `ValueError` for a read-only configuration that would generate other tokens. (Missing roles that begin and
    end texts are reported where they are needed.)
    """
    told = _told_by(tokenizer, config)
    known = {name: getattr(config, name, None) for name in ("mask_token_id", "vocab_size", "tokenizer_size", *_TAKEN)}
    untold = [name for name, value in told.items() if not _is_set(config, name, value)]
    if untold and Vocabulary.of(config) != Vocabulary.of(SimpleNamespace(**{**known, **told})):
        raise ValueError(
            f"The model's `config` is {described(config)} that cannot be written to, and it would have other tokens "
            f"written than the tokenizer's: make it with {', '.join(f'`{name}={told[name]}`' for name in untold)}."
        )


def _told_by(tokenizer: PreTrainedTokenizerBase, config: Any) -> dict[str, int | None]:
    """Returns the settings about this tokenizer's ids that a configuration lacks."""
    size, said = tokenizer_size(tokenizer), {role: getattr(config, role, None) for role in _TAKEN}
    ids = {role: getattr(tokenizer, role, None) for role in _TAKEN}
    pad = ids["pad_token_id"] if said["pad_token_id"] is None else said["pad_token_id"]
    told: dict[str, int | None] = {
        role: one
        for role, one in ids.items()
        if said[role] is None and one is not None and (role in _KEPT or one == pad)  # other roles are irrelevant
    }
    of_all = size if size < config.vocab_size else None
    return told if getattr(config, "tokenizer_size", None) == of_all else {**told, "tokenizer_size": of_all}


def _is_set(config: Any, name: str, value: Any) -> bool:
    """Sets an attribute, unless the object is frozen."""
    try:
        setattr(config, name, value)
    except (AttributeError, TypeError):  # frozen dataclasses, named tuples, slots, read-only properties
        return False
    return True


def check_resize(config: Any, new_num_tokens: int | None, pad_to_multiple_of: int | None = None) -> None:
    """Raises `ValueError` for invalid counts, and for fewer tokens than the mask token, the other special ones of a
    model and those of its texts' frame need."""
    if isinstance(pad_to_multiple_of, int):  # transformers checks other types itself
        COUNT.check("pad_to_multiple_of", pad_to_multiple_of)
    if new_num_tokens is None:
        return
    COUNT.check("new_num_tokens", new_num_tokens)
    ids = {f"the {role} token": ids_of(config, f"{role}_token_id") for role in _ROLES}
    ids["a token of `text_frame`"] = list(TextFrame.of(config).ids)
    name = max((name for name in ids if ids[name]), key=lambda one: max(ids[one]))
    if new_num_tokens <= max(ids[name]):
        raise ValueError(
            f"`new_num_tokens` is {new_num_tokens}, which leaves out {name} (id {max(ids[name])}): give at "
            f"least {max(ids[name]) + 1}, the ids of special tokens stay as they are."
        )
