"""Turns a Lightning checkpoint of the LADD authors' research code into a pipeline of this package.

    python examples/convert_checkpoint.py last.ckpt my-pipeline --num_attention_heads 12 --max_position_embeddings 512 \
        --latent_length 64 --settings '{"latent_noise_schedule": "sqrt"}'

It is read with `weights_only=True`. Without `--no_ema` the averaged weights are taken.
"""

from __future__ import annotations

import argparse
import json

from transformers import AutoTokenizer

from ladd_hf import LaddJointScheduler, LaddPipeline, LaddSequentialScheduler
from ladd_hf.convert_lightning import convert_lightning_checkpoint


def main() -> None:
    """Reads the checkpoint, writes the pipeline."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", help="the .ckpt")
    parser.add_argument("output", help="folder of the pipeline")
    parser.add_argument("--num_attention_heads", type=int, required=True)
    parser.add_argument("--max_position_embeddings", type=int, required=True, help="tokens of a text")
    parser.add_argument("--latent_length", type=int, required=True, help="latents of a text")
    parser.add_argument("--no_ema", action="store_true", help="take the plain weights")
    parser.add_argument("--skip", nargs="*", default=[], help="prefixes of weights that are left out")
    parser.add_argument("--settings", type=json.loads, default={}, help="more settings of LaddConfig, as JSON")
    parser.add_argument("--schedule", choices=["joint", "sequential"], default="joint")
    parser.add_argument("--tokenizer", help="folder or repository of the tokenizer")
    arguments = parser.parse_args()
    try:
        model = convert_lightning_checkpoint(
            arguments.checkpoint,
            num_attention_heads=arguments.num_attention_heads,
            max_position_embeddings=arguments.max_position_embeddings,
            latent_length=arguments.latent_length,
            ema=not arguments.no_ema,
            skip=arguments.skip,
            **arguments.settings,
        )
    except (ValueError, OSError) as error:
        raise SystemExit(f"{error}") from error
    scheduler = LaddJointScheduler() if arguments.schedule == "joint" else LaddSequentialScheduler()
    tokenizer = AutoTokenizer.from_pretrained(arguments.tokenizer) if arguments.tokenizer else None
    LaddPipeline(model, scheduler, tokenizer).save_pretrained(arguments.output)
    print(f"{arguments.output} holds a pipeline of {model.num_parameters():,} parameters.")


if __name__ == "__main__":
    main()
