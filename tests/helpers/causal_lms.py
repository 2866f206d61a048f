"""Small causal language models and their tokenizers, without downloads."""

from __future__ import annotations

import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

WORDS = ["the", "cat", "sat", "on", "mat", "dog", "ran", "to", "log"]


def word_tokenizer(bos=False, words=WORDS):
    """Words of a list; `<end>` is the end of a text, and with `bos` `<start>` is added at its start."""
    vocabulary = {word: place for place, word in enumerate(["<unk>", "<end>", "<start>", *words])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    if bos:
        tokenizer.post_processor = processors.TemplateProcessing(
            single="<start> $A", special_tokens=[("<start>", vocabulary["<start>"])]
        )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, unk_token="<unk>", eos_token="<end>", bos_token="<start>" if bos else None
    )


def causal_lm(kind="gpt2", vocab_size=12, positions=16, seed=0):
    """A network with fresh weights, large enough that its probabilities are far from even."""
    torch.manual_seed(seed)
    if kind == "gpt2":
        config = GPT2Config(vocab_size=vocab_size, n_embd=16, n_layer=2, n_head=2, n_positions=positions)
        model = GPT2LMHeadModel(config)
    else:
        config = LlamaConfig(
            vocab_size=vocab_size,
            hidden_size=16,
            intermediate_size=32,
            num_hidden_layers=2,
            num_attention_heads=2,
            max_position_embeddings=positions,
        )
        model = LlamaForCausalLM(config)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    return model.eval()
