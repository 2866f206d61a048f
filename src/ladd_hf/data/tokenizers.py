"""Tokenizers built from symbols or texts, and `with_mask_token`, which prepares any tokenizer for masked diffusion."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import AutoTokenizer, PreTrainedTokenizerBase, PreTrainedTokenizerFast

from ..models.vocabulary import check_mask_is_its_own
from .missing_texts import present
from .python_docs import _DIGITS

MASK_TOKEN, PAD_TOKEN, EOS_TOKEN = "[MASK]", "[PAD]", "[EOS]"
TEXT8_SYMBOLS = " abcdefghijklmnopqrstuvwxyz"


def character_tokenizer(symbols: str = TEXT8_SYMBOLS) -> PreTrainedTokenizerFast:
    """Returns a tokenizer of characters: id i is `symbols[i]`, then come the padding token and, last, the mask token.

    With text8's 27 symbols any text is first normalised as by [`text8_normalize`], except for spaces at its ends. With
    other symbols the text is unchanged; the tokenizer raises an error for a character that is not among them.

    Raises `ValueError` for empty or repeated symbols.
    """
    if not symbols or len(set(symbols)) != len(symbols):
        raise ValueError(f"The symbols {symbols!r} are empty or repeat one: give each character once.")
    vocabulary = {token: index for index, token in enumerate([*symbols, PAD_TOKEN, MASK_TOKEN])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token=None))
    if symbols == TEXT8_SYMBOLS:
        spelled = [normalizers.Replace(str(digit), f" {word} ") for digit, word in _DIGITS.items()]
        spaces = normalizers.Replace(Regex("[^a-z]+"), " ")
        tokenizer.normalizer = normalizers.Sequence([normalizers.Lowercase(), *spelled, spaces])
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(r"[\s\S]"), "isolated")
    tokenizer.decoder = decoders.Fuse()
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token=PAD_TOKEN,
        mask_token=MASK_TOKEN,
        clean_up_tokenization_spaces=False,
        model_input_names=["input_ids", "attention_mask"],
    )


def byte_level_bpe(texts: Iterable[str], vocab_size: int = 4096) -> PreTrainedTokenizerFast:
    """Trains a byte-level BPE tokenizer on `texts`; it encodes any text without loss.

    `vocab_size` counts the end-of-text, padding and mask tokens, which come last in that order. Deterministic for
    the same texts.

    Raises `ValueError` for a vocabulary smaller than the 256 bytes and 3 special tokens, and for a missing text (null).
    """
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    special = [EOS_TOKEN, PAD_TOKEN, MASK_TOKEN]
    if vocab_size < len(alphabet) + len(special):
        raise ValueError(
            f"`vocab_size` is {vocab_size}; byte-level BPE has {len(alphabet)} bytes and {len(special)} special "
            f"tokens: give at least {len(alphabet) + len(special)}."
        )
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size - len(special), initial_alphabet=alphabet, show_progress=False, special_tokens=[]
    )
    tokenizer.train_from_iterator(map(present, texts), trainer)
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        clean_up_tokenization_spaces=False,
        model_input_names=["input_ids", "attention_mask"],
    )
    fast.add_special_tokens({"eos_token": EOS_TOKEN, "pad_token": PAD_TOKEN, "mask_token": MASK_TOKEN})
    return fast


def make_tokenizer(
    name: str,
    texts: Iterable[str] = (),
    vocab_size: int = 4096,
    bos_token: str | None = None,
    eos_token: str | None = None,
) -> PreTrainedTokenizerBase:
    """Returns a tokenizer for masked diffusion by name: `character`, `byte_level_bpe`, or a repository or folder.

    Args:
        name: one of these.
        texts, vocab_size: training texts and size of `byte_level_bpe`.
        bos_token, eos_token: tokens of its vocabulary that begin and end texts, replacing its own if it has any.

    Raises `OSError` for a tokenizer that does not exist, `ValueError` for a token outside of its vocabulary, and the
    errors of [`byte_level_bpe`].
    """
    tokenizer: PreTrainedTokenizerBase
    if name == "character":
        tokenizer = character_tokenizer()
    elif name == "byte_level_bpe":
        tokenizer = byte_level_bpe(texts, vocab_size)
    else:
        tokenizer = _loaded(name)
    ends = {"bos_token": bos_token, "eos_token": eos_token}
    for role, token in ends.items():
        if token is not None and token not in tokenizer.get_vocab():
            special = ", ".join(map(repr, tokenizer.all_special_tokens)) or "none"
            raise ValueError(
                f"`{role}` is {token!r}, which the tokenizer {name!r} does not know: give a token of its vocabulary "
                f"(its special ones are {special}), or leave it out."
            )
    tokenizer.add_special_tokens({role: token for role, token in ends.items() if token is not None})
    return with_mask_token(tokenizer)


def _loaded(name: str) -> PreTrainedTokenizerBase:
    try:
        tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(name)
    except (OSError, ValueError) as error:
        raise OSError(
            f"There is no tokenizer {name!r} that can be loaded ({str(error).splitlines()[0]}): give 'character' or "
            "'byte_level_bpe', which are made on the spot, or a folder or a repository of the Hub that can be reached."
        ) from error
    return tokenizer


def with_mask_token(tokenizer: PreTrainedTokenizerBase, vocab_size: int | None = None) -> PreTrainedTokenizerBase:
    """Adds a mask token and a padding token as last ids, if they are missing; returns the tokenizer itself.

    Args:
        tokenizer: any, such as a GPT's, which has neither.
        vocab_size: greatest number of tokens: the `vocab_size` of a model that it must fit. `None`: no limit.

    Raises `ValueError` if that number is exceeded, and if the mask token is another special token as well.
    """
    check_mask_is_its_own(tokenizer)
    missing: dict[str, Any] = {}
    if tokenizer.pad_token is None:
        missing["pad_token"] = PAD_TOKEN
    if tokenizer.mask_token is None:
        missing["mask_token"] = MASK_TOKEN
    needed = len(tokenizer) + len(set(missing.values()) - tokenizer.get_vocab().keys())
    if vocab_size is not None and needed > vocab_size:
        raise ValueError(
            f"The tokenizer has {len(tokenizer)} tokens and needs {needed} with its mask and padding tokens, but the "
            f"model's `vocab_size` is {vocab_size}: give a model with a larger vocabulary, or call "
            "`model.resize_token_embeddings`."
        )
    tokenizer.add_special_tokens(missing)
    return tokenizer
