"""Recipes that are shipped, read as a run reads them, without texts and without a Hub."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from types import SimpleNamespace

from helpers.examples import train_ladd as example
from ladd_hf.data import make_tokenizer
from ladd_hf.tasks import SawtoothTask, TextTask

CONFIGS = Path(__file__).resolve().parents[2] / "examples" / "configs"

# The tokenizer of Qwen/Qwen3-Embedding-0.6B has 151,669 tokens; a mask token is added.
QWEN = {"vocab_size": 151_670, "mask_token_id": 151_669, "pad_token_id": 151_643}
ENCODER = "Qwen/Qwen3-Embedding-0.6B"


def parse(name, *flags):
    return example.parse_arguments([str(CONFIGS / f"{name}.yaml"), "--use_cpu", *flags])


def task_of(run):
    """The recipe's task without its texts, or where its tokenizer is the Hub's, what it says of the vocabulary."""
    if run.data == "sawtooth":
        return SawtoothTask(run.length)
    if run.tokenizer == "byte_level_bpe":
        return SimpleNamespace(vocabulary={"vocab_size": run.tokenizer_vocab_size}, length=run.length)
    if run.tokenizer == "character":
        return TextTask(run.data, {"train": [], "validation": []}, make_tokenizer("character"), run.length, run.packing)
    assert run.tokenizer == ENCODER
    return SimpleNamespace(vocabulary=QWEN, length=run.length)


@cache
def describe(name):
    run, model, schedulers, training = parse(name)
    config = model.config(task_of(run), latents=True)
    return run, config, schedulers, training
