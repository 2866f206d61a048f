"""Trains a small causal language model on a corpus, a judge of samples where no large one can be downloaded.

    python benchmarks/train_small_judge.py --output_dir out/judge      # python-docs, about ten minutes on a core
    python benchmarks/train_small_judge.py --data lm1b --tokenizer gpt2 --max_steps 20000 --output_dir out/lm1b
    python examples/train_ladd.py examples/configs/python-docs-di.yaml \\
        --judges ngram entropy '{name: generative_perplexity, model: out/judge}'

The folder is an ordinary model of transformers with its tokenizer. Its name stands wherever its scores do, since they
are comparable with those of the same judge alone: not with perplexities under gpt2-large.
"""

from __future__ import annotations

import argparse
import math
from pathlib import Path
from typing import Any

import torch
from datasets import disable_progress_bars
from transformers import LlamaConfig, LlamaForCausalLM, PrinterCallback, Trainer, TrainingArguments, set_seed
from transformers.trainer_callback import TrainerCallback

from ladd_hf.data import load_corpus, make_tokenizer, token_blocks
from ladd_hf.data.corpora import separator_of
from ladd_hf.data.token_blocks import separator_between
from ladd_hf.metrics import CausalJudge, bootstrap_ratio
from ladd_hf.metrics.generative_perplexity import text_nats


class Lines(TrainerCallback):
    """One line per log."""

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, Any] | None = None, **kwargs: Any) -> None:
        """Prints step and loss."""
        if logs and "loss" in logs:
            print(f"  step {state.global_step:>6}/{state.max_steps}  loss {float(logs['loss']):.4f}", flush=True)


def parse_arguments() -> argparse.Namespace:
    """Parses the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="python-docs", help="corpus by name, 'user/name' on the Hub, or local files")
    parser.add_argument("--tokenizer", default="character", help="as in recipes: a name, or one of the Hub or a folder")
    parser.add_argument("--tokenizer_vocab_size", type=int, default=4096, help="of 'byte_level_bpe'")
    parser.add_argument("--length", type=int, default=128, help="tokens that the judge reads at once")
    parser.add_argument("--hidden_size", type=int, default=192)
    parser.add_argument("--num_hidden_layers", type=int, default=4)
    parser.add_argument("--max_steps", type=int, default=1500)
    parser.add_argument("--batch_size", type=int, default=16)
    parser.add_argument("--learning_rate", type=float, default=2e-3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output_dir", type=Path, required=True)
    return parser.parse_args()


def blocks_of(texts: Any, tokenizer: Any, options: argparse.Namespace) -> Any:
    """Returns packed blocks, as those that a model is trained on."""
    separator = separator_between(tokenizer, "pack", separator_of(options.data))
    return token_blocks(texts, tokenizer, options.length, "pack", remainder="drop", separator=separator)


def judge_of(tokenizer: Any, options: argparse.Namespace) -> LlamaForCausalLM:
    """Returns the network with fresh weights."""
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=options.hidden_size,
        intermediate_size=3 * options.hidden_size,
        num_hidden_layers=options.num_hidden_layers,
        num_attention_heads=max(1, options.hidden_size // 48),
        max_position_embeddings=options.length,
        tie_word_embeddings=True,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    return LlamaForCausalLM(config)


def causal_batch(rows: list[dict[str, Any]]) -> dict[str, torch.Tensor]:
    """Returns ids, which the model shifts by one to be its labels."""
    ids = torch.stack([torch.as_tensor(row["input_ids"]).long() for row in rows])
    return {"input_ids": ids, "labels": ids}


def main() -> None:
    """Trains, saves and judges held-out texts."""
    options = parse_arguments()
    disable_progress_bars()
    splits = load_corpus(options.data)
    held_out = next(split for split in ("validation", "test") if split in splits)
    texts = (row["text"] for row in splits["train"])
    tokenizer = make_tokenizer(options.tokenizer, texts, options.tokenizer_vocab_size)
    set_seed(options.seed)
    model = judge_of(tokenizer, options)
    print(f"{options.output_dir.name}: {model.num_parameters():,} parameters, {options.max_steps:,} steps", flush=True)
    arguments = TrainingArguments(
        str(options.output_dir / "checkpoints"),
        max_steps=options.max_steps,
        per_device_train_batch_size=options.batch_size,
        learning_rate=options.learning_rate,
        lr_scheduler_type="cosine",
        warmup_steps=min(100, options.max_steps // 10),
        weight_decay=0.1,
        adam_beta2=0.98,
        logging_steps=max(1, options.max_steps // 20),
        save_strategy="no",
        seed=options.seed,
        disable_tqdm=True,
        dataloader_pin_memory=torch.cuda.is_available(),
    )
    train_blocks = blocks_of(splits["train"], tokenizer, options)
    trainer = Trainer(model, arguments, train_dataset=train_blocks, data_collator=causal_batch, callbacks=[Lines()])
    trainer.remove_callback(PrinterCallback)
    trainer.train()
    model.save_pretrained(options.output_dir)
    tokenizer.save_pretrained(options.output_dir)

    judge = CausalJudge(str(options.output_dir))
    # read back from the tokens, as samples are
    rows = [row["input_ids"] for row in blocks_of(splits[held_out], tokenizer, options).select_columns("input_ids")]
    blocks = tokenizer.batch_decode(rows[:200], skip_special_tokens=True)
    scores = text_nats(judge, blocks)
    nats = bootstrap_ratio(scores.nats, scores.tokens)
    characters = bootstrap_ratio(scores.nats, [len(text) for text in blocks])
    print(f"held-out blocks: perplexity {math.exp(nats.value):.3f}, nats per token {nats.value:.4f}±{nats.stderr:.4f}")
    print(f"                 nats per character {characters.value:.4f}±{characters.stderr:.4f}")
    print(f"{options.output_dir} stands in for gpt2-large: name it as `model` of generative_perplexity and mauve.")


if __name__ == "__main__":
    main()
