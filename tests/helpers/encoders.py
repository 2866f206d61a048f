"""Small encoders with random weights, and tokenizers that cut the same text differently."""

from __future__ import annotations

from types import SimpleNamespace

import torch
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from torch import nn
from transformers import (
    BertConfig,
    BertModel,
    ModernBertConfig,
    ModernBertModel,
    PreTrainedTokenizerFast,
    Qwen3Config,
    Qwen3Model,
    RobertaConfig,
    RobertaModel,
    T5Config,
    T5EncoderModel,
    T5Model,
    XLNetConfig,
    XLNetModel,
)

_SIZES = {
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "max_position_embeddings": 64,
    "pad_token_id": 0,
}
_OTHERS = {"bos_token_id": 1, "eos_token_id": 1, "cls_token_id": 1, "sep_token_id": 1}
_T5 = {"d_model": 16, "num_layers": 2, "num_heads": 2, "d_kv": 8, "d_ff": 32, "pad_token_id": 0, "eos_token_id": 1}
ENCODERS = ("bert", "modernbert", "qwen3", "roberta", "t5", "xlnet")


def build_encoder(kind, vocab_size=11, **overrides):
    """A network with states of size 16; `qwen3` is a decoder, `t5` the first half of an encoder-decoder, which is
    `whole_t5`; of `roberta` the padding token has a position too, and `xlnet` has no last one."""
    torch.manual_seed(1)
    sizes = {**_SIZES, "vocab_size": vocab_size, **overrides}
    if kind == "bert":
        model = BertModel(BertConfig(**sizes))
    elif kind == "modernbert":
        model = ModernBertModel(ModernBertConfig(**sizes, **_OTHERS))
    elif kind == "roberta":
        model = RobertaModel(RobertaConfig(**sizes))
    elif kind in ("t5", "whole_t5"):
        described = T5Config(**_T5, vocab_size=vocab_size, **overrides)
        model = (T5EncoderModel if kind == "t5" else T5Model)(described)
    elif kind == "xlnet":
        described = {"d_model": 16, "n_layer": 2, "n_head": 2, "d_inner": 32, "pad_token_id": 0}
        model = XLNetModel(XLNetConfig(vocab_size=vocab_size, **described, **overrides))
    else:
        model = Qwen3Model(Qwen3Config(**sizes, num_key_value_heads=1, head_dim=8))
    return model.eval()


def save_encoder(folder, kind="bert", tokenizer=None, **overrides):
    """Saves an encoder; returns its folder's name."""
    build_encoder(kind, **overrides).save_pretrained(folder)
    if tokenizer is not None:
        tokenizer.save_pretrained(folder)
    return str(folder)


def save_package(site, module, texts):
    """Saves an encoder in the folder `model` of a package in the folder `site`, with word pieces of some texts."""
    (site / module).mkdir(parents=True)
    (site / module / "__init__.py").touch()
    pieces = word_pieces(texts, vocab_size=80)
    save_encoder(site / module / "model", tokenizer=pieces, vocab_size=len(pieces))


def letters(text_of_alphabet="abcdefghijklmnopqrstuvwxyz ", mask_token="[MASK]"):
    """One token per character."""
    words = ["[PAD]", *text_of_alphabet, "[MASK]"]
    tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="[PAD]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex("."), "isolated")
    tokenizer.decoder = decoders.Fuse()
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="[PAD]", mask_token=mask_token)


def byte_pairs(texts, vocab_size=320):
    """Byte-level BPE trained on texts: [PAD] 0, [MASK] 1, a final <eos> 2 that it does not add by itself."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    special = ["[PAD]", "[MASK]", "<eos>"]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=vocab_size, special_tokens=special, initial_alphabet=alphabet)
    tokenizer.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="[PAD]", mask_token="[MASK]", eos_token="<eos>"
    )


def word_pieces(texts, vocab_size=80):
    """Returns a tokenizer like BERT's: lower case, words in pieces, between [CLS] and [SEP]."""
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    tokenizer.train_from_iterator(texts, trainers.WordPieceTrainer(vocab_size=vocab_size, special_tokens=special))
    ends = [(name, tokenizer.token_to_id(name)) for name in ("[CLS]", "[SEP]")]
    tokenizer.post_processor = processors.TemplateProcessing(single="[CLS] $A [SEP]", special_tokens=ends)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        **{f"{name.lower()}_token": f"[{name}]" for name in ("PAD", "UNK", "CLS", "SEP", "MASK")},
    )


class SeesItsTokenAlone(nn.Module):
    """Stands for a network: a token's state has a 1 for each letter a to z that it spells, and no more."""

    def __init__(self, tokenizer):
        super().__init__()
        self.config = SimpleNamespace(hidden_size=26, vocab_size=len(tokenizer), max_position_embeddings=512)
        self.config.get_text_config = lambda: self.config
        self.dtype, self.device = torch.float32, torch.device("cpu")
        self.spelt = torch.zeros(len(tokenizer), 26)
        for token, one in tokenizer.get_vocab().items():
            if one not in tokenizer.all_special_ids:
                for letter in token:
                    if letter.isascii() and letter.isalpha():
                        self.spelt[one, ord(letter) - ord("a")] = 1

    def forward(self, input_ids, attention_mask=None):
        return SimpleNamespace(last_hidden_state=self.spelt[input_ids])


def letters_in(vector):
    """Returns the letters that contribute to a pooled state."""
    return "".join(chr(ord("a") + one) for one in vector.nonzero().flatten().tolist())


def some_tokens(rows=5):
    """`(rows, 12)` ids of the vocabulary of 11, without the first and the last."""
    return torch.randint(1, 10, (rows, 12))


def is_loaded(model):
    """True if a model has loaded its fixed encoder's weights."""
    return model.encoder.pretrained.network is not None
