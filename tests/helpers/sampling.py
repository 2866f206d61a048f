"""Generators, tokenizers and a recorder of calls for tests of the pipeline."""

from __future__ import annotations

import inspect
from types import SimpleNamespace

import torch
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

from ladd_hf import LaddJointScheduler, LaddSequentialScheduler

KINDS = ("none", "continuous", "anchors", "discrete", "vector", "gumbel", "separate", "separate_codes")
WITH_LATENTS = KINDS[1:]
GUIDED = (
    *((kind, 1.0) for kind in ("none", "discrete", "continuous", "anchors", "separate", "separate_codes")),
    ("discrete", 2.0),
    ("separate", 2.0),
)
SCHEDULERS = {"joint": LaddJointScheduler, "sequential": LaddSequentialScheduler}
MASK = 10


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def clean_latents(kind, count, seed=0):
    if kind in ("continuous", "anchors", "separate"):
        return torch.randn(count, 4, 3, generator=seeded(seed))
    return torch.randint(8, (count, 4), generator=seeded(seed))


def tiny_tokenizer(mask_id=MASK, mask_token="[MASK]"):
    """One token per letter: [PAD] 0, a to i 1 to 9, [MASK] 10; with special tokens, a text would end in a [PAD]."""
    words = ["[PAD]", *"abcdefghi"]
    words.insert(mask_id, "[MASK]")
    tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="[PAD]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex("."), "isolated")
    tokenizer.post_processor = processors.TemplateProcessing(single="$A [PAD]", special_tokens=[("[PAD]", 0)])
    tokenizer.decoder = decoders.Fuse()
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="[PAD]", mask_token=mask_token)


def watch(model):
    """Records every evaluation of a model: its arguments, and the number of rows of logits."""
    calls = []

    def note(module, args, kwargs, output):
        bound = inspect.signature(module.forward).bind(*args, **kwargs)
        rows = None if output.logits is None else len(output.logits)
        calls.append(SimpleNamespace(**{"latents": None, **bound.arguments}, logits_rows=rows))

    model.register_forward_hook(note, with_kwargs=True)
    return calls
