"""Tokenizers that are written in Python, such as a user's own."""

from __future__ import annotations

import json
from pathlib import Path

from transformers import PreTrainedTokenizer, Wav2Vec2CTCTokenizer
from transformers.models.bert_japanese.tokenization_bert_japanese import BertJapaneseTokenizer

LETTERS = ["<pad>", "<unk>", "<mask>", *"abcdeABCDE .,|é"]


class Folding:
    """Folds a text before it is looked up."""

    def __init__(self, lower):
        self.lower = lower

    def __call__(self, text):
        return text.lower() if self.lower else text


class Letters(PreTrainedTokenizer):
    """A token per character, of texts that are folded; it counts what it has seen, and keeps it."""

    step = 1
    model_input_names = ["input_ids", "attention_mask"]

    def __init__(self, lower=False, rare=None, source=None, words=LETTERS, **options):
        self.words = {word: number for number, word in enumerate(words)}
        self.folding, self.source, self.rare = Folding(lower), source, rare
        self.seen = {}
        special = {"pad_token": "<pad>", "unk_token": "<unk>", "mask_token": "<mask>"}
        super().__init__(rare=rare, **{**special, **options})

    @property
    def vocab_size(self):
        return len(self.words)

    def get_vocab(self):
        return {**self.words, **self.added_tokens_encoder}

    def _tokenize(self, text):
        if text not in self.seen:
            self.seen[text] = list(self.folding(text))[:: self.step]
        return self.seen[text]

    def _convert_token_to_id(self, token):
        return self.words.get(token, self.words["<unk>"])

    def _convert_id_to_token(self, number):
        return list(self.words)[number]


def wav2vec(folder, lower):
    """One of transformers' own, of whose options its vocabulary tells nothing."""
    path = Path(folder) / "vocab.json"
    words = ["<pad>", "<s>", "</s>", "<unk>", "|", *"abcdeABCDE"]
    path.write_text(json.dumps({word: number for number, word in enumerate(words)}))
    return Wav2Vec2CTCTokenizer(str(path), do_lower_case=lower)


def bert_japanese(folder, lower):
    """Another one, whose options are in objects that it holds."""
    path = Path(folder) / "vocab.txt"
    path.write_text("\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *"abcdeABCDE"]))
    options = {"word_tokenizer_type": "basic", "subword_tokenizer_type": "character"}
    return BertJapaneseTokenizer(str(path), do_lower_case=lower, **options)
