"""Tokenizers and texts that the data tests share."""

from __future__ import annotations

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

SYMBOLS = "abcdefghijklmnopqrstuvwxyz "
SENTENCES = [
    "the cat sat on the mat",
    "",
    "a dog",
    "colourless green ideas sleep furiously and so do we all in the end",
    "x",
    "what is written without effort is in general read without pleasure",
]


def characters(*special, symbols=SYMBOLS):
    """A tokenizer of single characters, with these special tokens (such as `eos`) behind them."""
    names = [f"[{name.upper()}]" for name in special]
    vocabulary = {token: number for number, token in enumerate([*symbols, *names])}
    plain = Tokenizer(models.WordLevel(vocabulary, unk_token=names[special.index("unk")] if "unk" in special else None))
    plain.pre_tokenizer = pre_tokenizers.Split(Regex(r"[\s\S]"), "isolated")
    plain.decoder = decoders.Fuse()
    tokens = {f"{name}_token": token for name, token in zip(special, names, strict=True)}
    return PreTrainedTokenizerFast(tokenizer_object=plain, **tokens)


def byte_pairs(texts=SENTENCES, size=300):
    """A byte-level BPE with a token of every kind."""
    plain = Tokenizer(models.BPE())
    plain.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    plain.decoder = decoders.ByteLevel()
    special = ["<pad>", "<bos>", "<eos>", "<mask>"]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=size, special_tokens=special, initial_alphabet=alphabet, show_progress=False
    )
    plain.train_from_iterator(texts, trainer)
    pad, bos, eos, mask = special
    return PreTrainedTokenizerFast(tokenizer_object=plain, pad_token=pad, bos_token=bos, eos_token=eos, mask_token=mask)
