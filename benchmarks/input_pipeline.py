"""How fast texts become training examples on one core, and for what share of its time a training run waits for them.

The texts are the documentation of the running Python. Speed is in characters per second of processor time, tokenizing
and cutting included: whole passes over the corpus, on disk (`Dataset` to Arrow file) and streamed. The waiting is
measured in a small model's training, where the same process tokenizes, cuts, shuffles and stacks the batches.

    python benchmarks/input_pipeline.py --json benchmarks/results/input_pipeline.json
"""

from __future__ import annotations

import argparse
import functools
import json
import os
import platform
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

os.environ["TOKENIZERS_PARALLELISM"] = "false"  # one core is what is measured

import datasets
import tokenizers
import torch

from ladd_hf import LaddConfig, LaddForDiffusionLM, LaddTrainer, LaddTrainingArguments
from ladd_hf.data import BlockStream, byte_level_bpe, character_tokenizer, load_corpus, token_blocks


class TimedTrainer(LaddTrainer):
    """Adds up the time that it takes to get batches."""

    waited = 0.0

    def get_batch_samples(self, *args: Any, **kwargs: Any) -> Any:
        """As in the base class, timed; the first step, which starts everything, is left out."""
        start = time.perf_counter()
        batches = super().get_batch_samples(*args, **kwargs)
        if self.state.global_step > 0:
            self.waited += time.perf_counter() - start
        else:
            self.waited, self.began = 0.0, time.perf_counter()
        return batches


def texts_and_tokenizer(kind: str, options: argparse.Namespace) -> tuple[datasets.Dataset, Any]:
    """The corpus, and the tokenizer of this kind."""
    texts = load_corpus("python-docs" if kind == "characters" else "python-docs-text", "train")
    texts = texts.select(range(options.documents or len(texts)))
    return texts, character_tokenizer() if kind == "characters" else byte_level_bpe(texts["text"], options.vocab_size)


def blocks_of(texts: datasets.Dataset, tokenizer: Any, path: str, options: argparse.Namespace) -> Any:
    """The blocks, made anew; documents are followed by a space where the tokenizer has nothing else."""
    return token_blocks(
        texts.to_iterable_dataset() if path == "stream" else texts,
        tokenizer,
        options.length,
        remainder="drop",
        separator=None if tokenizer.eos_token else " ",
        load_from_cache_file=False,
    )


def speed(make: Any, characters: int, rounds: int) -> dict[str, float]:
    """Characters per second of processor time, over whole passes."""
    rates = []
    for _ in range(rounds + 1):
        start = time.process_time()
        blocks = make()
        if isinstance(blocks, BlockStream):
            for _ in blocks:
                pass
        rates.append(characters / (time.process_time() - start))
    rates = rates[1:]  # the first pass warms up
    return {
        "characters_per_second": statistics.median(rates),
        "slowest": min(rates),
        "fastest": max(rates),
    }


def waiting(blocks: Any, tokenizer: Any, options: argparse.Namespace) -> dict[str, float]:
    """The share of a training run's time that goes into getting batches, and its steps per second."""
    torch.manual_seed(0)
    blocks = blocks.shuffle(0).repeat() if isinstance(blocks, BlockStream) else blocks
    config = LaddConfig(
        vocab_size=len(tokenizer),
        mask_token_id=tokenizer.mask_token_id,
        pad_token_id=tokenizer.pad_token_id,
        hidden_size=options.hidden_size,
        num_hidden_layers=options.layers,
        num_attention_heads=4,
        max_position_embeddings=options.length,
    )
    with tempfile.TemporaryDirectory() as folder:
        arguments = LaddTrainingArguments(
            folder,
            max_steps=options.steps + 1,
            per_device_train_batch_size=options.batch_size,
            dataloader_num_workers=options.workers,
            use_cpu=options.device == "cpu",
            bf16=options.device != "cpu",
            save_strategy="no",
            logging_strategy="no",
            disable_tqdm=True,
        )
        trainer = TimedTrainer(LaddForDiffusionLM(config), arguments, train_dataset=blocks, processing_class=tokenizer)
        trainer.train()
        if options.device != "cpu":
            torch.cuda.synchronize()
        seconds = time.perf_counter() - trainer.began
    return {"wait_share": trainer.waited / seconds, "steps_per_second": options.steps / seconds}


def main() -> None:
    """Prints the table; writes it as JSON where asked to."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--documents", type=int, help="so many documents; all, if not given")
    parser.add_argument("--length", type=int, default=128)
    parser.add_argument("--vocab_size", type=int, default=4096)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--hidden_size", type=int, default=128)
    parser.add_argument("--layers", type=int, default=4)
    parser.add_argument("--batch_size", type=int, default=64)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--workers", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    datasets.disable_progress_bars()

    print(f"{'tokenizer':>16} {'path':>7} {'characters/s':>13} {'(min - max)':>23} {'waits':>7} {'steps/s':>8}")
    rows = []
    for kind in ("characters", "byte-level BPE"):
        texts, tokenizer = texts_and_tokenizer(kind, options)
        characters = sum(map(len, texts["text"]))
        for path in ("disk", "stream"):
            make = functools.partial(blocks_of, texts, tokenizer, path, options)
            measured = speed(make, characters, options.rounds) | waiting(make(), tokenizer, options)
            row = {"tokenizer": kind, "path": path, "characters": characters, **measured}
            rows.append(row)
            spread = f"({row['slowest']:,.0f} - {row['fastest']:,.0f})"
            print(
                f"{kind:>16} {path:>7} {row['characters_per_second']:13,.0f} {spread:>23} {row['wait_share']:7.2%} "
                f"{row['steps_per_second']:8.2f}",
                flush=True,
            )
    if options.json:
        versions = {"torch": torch.__version__, "tokenizers": tokenizers.__version__, "datasets": datasets.__version__}
        facts = {"device": options.device, "machine": platform.machine(), **versions}
        settings = {name: value for name, value in vars(options).items() if name != "json"}
        options.json.write_text(json.dumps({**facts, "settings": settings, "rows": rows}, indent=2) + "\n")


if __name__ == "__main__":
    main()
