"""Measures the speed of the input pipeline on one core, and the share of training time spent waiting for it.

The texts are the documentation of the running Python. Speed is in characters per second of processor time, tokenizing
and cutting included: whole passes over the corpus, on disk (`Dataset` to Arrow file) and streamed. The waiting is
and cutting included: whole passes over the corpus, on disk (`Dataset` to Arrow file) and streamed. Waiting time is
measured in a small model's training, where the same process tokenizes, cuts, shuffles and stacks the batches.

A stream tokenizes 128 documents at once, and fills its shuffled window at once. So that the timed steps include the
cost of what they use, the window is small, documents are cut into short pieces, and the steps span the window several
times; the numbers of tokens tokenized and used in the timed steps are both reported. Blocks on disk were tokenized
before the run.

    python benchmarks/input_pipeline.py --json benchmarks/results/input_pipeline.json
    python benchmarks/input_pipeline.py --part waiting --json benchmarks/results/input_pipeline.json

The file holds the two parts separately, each with its settings: `--part` measures one again and keeps the other.
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
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

os.environ["TOKENIZERS_PARALLELISM"] = "false"  # measure a single core

import datasets
import tokenizers
import torch

from ladd_hf import LaddConfig, LaddForDiffusionLM, LaddTrainer, LaddTrainingArguments
from ladd_hf.data import BlockStream, byte_level_bpe, character_tokenizer, load_corpus, token_blocks
from ladd_hf.data.encoding import Documents, TextEncoder

# settings common to both parts, and those of each
COMMON = ("documents", "length", "vocab_size", "threads")
PARTS = {
    "speed": ("rounds",),
    "waiting": ("window", "piece", "hidden_size", "layers", "batch_size", "steps", "workers", "device"),
}


class CountingEncoder(TextEncoder):
    """An encoder that counts its calls and the tokens it has returned."""

    calls, tokens = 0, 0

    def __call__(self, texts: Any) -> Documents:
        """Encodes texts and counts; the end of a shard, which has no texts, does not count as a call."""
        documents = super().__call__(texts)
        self.calls += len(documents.lengths) > 0
        self.tokens += len(documents.ids)
        return documents


class TimedTrainer(LaddTrainer):
    """Times the fetching of batches, from the second step on: the first step includes all start-up costs.

    `waits`: seconds of each. `began`: start of the second step. `before`: calls and tokens of `encoder` until then.
    """

    encoder: CountingEncoder | None = None

    def get_batch_samples(self, *args: Any, **kwargs: Any) -> Any:
        """Fetches batches and times it."""
        start = time.perf_counter()
        if self.state.global_step == 1:
            self.waits, self.began, self.before = list[float](), start, self.encoded()
        batches = super().get_batch_samples(*args, **kwargs)
        if self.state.global_step > 0:
            self.waits.append(time.perf_counter() - start)
        return batches

    def encoded(self) -> tuple[int, int]:
        """Returns calls and tokens of the encoder so far; zeros without one, for blocks on disk."""
        return (self.encoder.calls, self.encoder.tokens) if self.encoder else (0, 0)


def texts_and_tokenizer(kind: str, options: argparse.Namespace) -> tuple[datasets.Dataset, Any]:
    """Returns the corpus, and the tokenizer of this kind."""
    texts = load_corpus("python-docs" if kind == "characters" else "python-docs-text", "train")
    texts = texts.select(range(options.documents or len(texts)))
    return texts, character_tokenizer() if kind == "characters" else byte_level_bpe(texts["text"], options.vocab_size)


def blocks_of(texts: datasets.Dataset, tokenizer: Any, path: str, options: argparse.Namespace) -> Any:
    """Makes the blocks anew; documents are followed by a space if the tokenizer has no separator."""
    return token_blocks(
        texts.to_iterable_dataset() if path == "stream" else texts,
        tokenizer,
        options.length,
        remainder="drop",
        separator=None if tokenizer.eos_token else " ",
        load_from_cache_file=False,
    )


def speed(make: Any, characters: int, rounds: int) -> dict[str, float]:
    """Measures characters per second of processor time, over whole passes."""
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


def waiting(blocks: Any, tokenizer: Any, options: argparse.Namespace) -> dict[str, float | None]:
    """Measures the share of a training run's time spent waiting for batches, and its steps per second.

    Also returns the longest wait in seconds, and counts of the timed steps: calls of the encoder, tokens that it
    returned and tokens in the batches. Data loader workers count separately, so with them the first two are None.
    """
    torch.manual_seed(0)
    encoder = None
    if isinstance(blocks, BlockStream):
        encoder = blocks.encoder = CountingEncoder(tokenizer)
        blocks = blocks.shuffle(0, buffer_size=options.window).repeat()
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
        trainer.encoder = encoder
        trainer.train()
        if options.device != "cpu":
            torch.cuda.synchronize()
        seconds = time.perf_counter() - trainer.began
    counted = encoder is None or not options.workers
    calls, tokens = (now - then for now, then in zip(trainer.encoded(), trainer.before, strict=True))
    return {
        "wait_share": sum(trainer.waits) / seconds,
        "steps_per_second": options.steps / seconds,
        "longest_wait": max(trainer.waits),
        "encoder_calls": calls if counted else None,
        "tokens_encoded": tokens if counted else None,
        "tokens_used": options.steps * options.batch_size * options.length,
    }


def pieces(texts: datasets.Dataset, length: int) -> datasets.Dataset:
    """Cuts the texts into pieces of at most `length` characters."""
    cut = [text[start : start + length] for text in texts["text"] for start in range(0, len(text), length)]
    return datasets.Dataset.from_dict({"text": cut})


def each(
    measure: Callable[[Any, Any, int], dict[str, Any]], options: argparse.Namespace, piece: int | None = None
) -> Iterator[dict[str, Any]]:
    """Yields a row for each tokenizer and path, from `measure`, given `make` of the blocks, and the characters."""
    for kind in ("characters", "byte-level BPE"):
        texts, tokenizer = texts_and_tokenizer(kind, options)
        texts = texts if piece is None else pieces(texts, piece)
        characters = sum(map(len, texts["text"]))
        for path in ("disk", "stream"):
            make = functools.partial(blocks_of, texts, tokenizer, path, options)
            yield {"tokenizer": kind, "path": path, "characters": characters, **measure(make, tokenizer, characters)}


def speed_rows(options: argparse.Namespace) -> list[dict[str, Any]]:
    """Returns the rows of this part, printing them as they come."""
    print(f"{'tokenizer':>16} {'path':>7} {'characters/s':>13} {'(min - max)':>23}")
    rows = []
    for row in each(lambda make, tokenizer, characters: speed(make, characters, options.rounds), options):
        spread = f"({row['slowest']:,.0f} - {row['fastest']:,.0f})"
        print(f"{row['tokenizer']:>16} {row['path']:>7} {row['characters_per_second']:13,.0f} {spread:>23}", flush=True)
        rows.append(row)
    return rows


def waiting_rows(options: argparse.Namespace) -> list[dict[str, Any]]:
    """Returns the rows of this part, printing them as they come."""
    print(f"{'tokenizer':>16} {'path':>7} {'waits':>7} {'longest':>9} {'steps/s':>8} {'encoded':>9} {'used':>9}")
    rows = []
    for row in each(lambda make, tokenizer, characters: waiting(make(), tokenizer, options), options, options.piece):
        encoded = "?" if row["tokens_encoded"] is None else f"{row['tokens_encoded']:,}"
        print(
            f"{row['tokenizer']:>16} {row['path']:>7} {row['wait_share']:7.2%} {row['longest_wait']:7.3f} s "
            f"{row['steps_per_second']:8.2f} {encoded:>9} {row['tokens_used']:>9,}",
            flush=True,
        )
        rows.append(row)
    return rows


def main() -> None:
    """Prints a table for each part; writes them as JSON if requested."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--part", choices=list(PARTS), help="measure this one; both, if not given")
    parser.add_argument("--documents", type=int, help="so many documents; all, if not given")
    parser.add_argument("--length", type=int, default=128)
    parser.add_argument("--vocab_size", type=int, default=4096)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--window", type=int, default=128, help="blocks that a stream shuffles at once, or a few more")
    parser.add_argument(
        "--piece", type=int, default=128, help="characters of a document, while the waiting is measured"
    )
    parser.add_argument("--hidden_size", type=int, default=128)
    parser.add_argument("--layers", type=int, default=4)
    parser.add_argument("--batch_size", type=int, default=32)
    parser.add_argument("--steps", type=int, default=24)
    parser.add_argument("--workers", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    datasets.disable_progress_bars()

    versions = {"torch": torch.__version__, "tokenizers": tokenizers.__version__, "datasets": datasets.__version__}
    for part in PARTS if options.part is None else [options.part]:
        rows = {"speed": speed_rows, "waiting": waiting_rows}[part](options)
        if options.json:
            settings = {name: getattr(options, name) for name in (*COMMON, *PARTS[part])}
            found = json.loads(options.json.read_text()) if options.json.exists() else {}
            found[part] = {"machine": platform.machine(), **versions, "settings": settings, "rows": rows}
            options.json.write_text(json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    main()
