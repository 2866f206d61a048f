"""Evaluations of the latents and their worth: pipelines of python-docs with N of them, and a few of the tokens.

    python benchmarks/text_ablations.py continuous --keep out/continuous \\
        --rows "v, a network of its own" "v, a network of its own, distilled"
    python benchmarks/latent_steps.py out/continuous/*/co-ladd --json benchmarks/results/latent_steps.json

Samples are scored as in the recipe, by the 6-gram judge of python-docs and the mean entropy of a sample's characters. A
pipeline is named after the folder of its run.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import torch

from ladd_hf import LaddPipeline, LaddScheduler
from ladd_hf.data import load_corpus
from ladd_hf.metrics import quality_by_evaluations
from ladd_hf.tasks import TextTask


def scores_of(folder: Path, options: argparse.Namespace) -> dict[str, dict[str, dict[str, float]]]:
    """Returns the judgements of a pipeline's samples by share of noise drawn anew and number of latent evaluations."""
    pipeline = LaddPipeline.from_pretrained(folder)
    pipeline.set_progress_bar_config(disable=True)
    config = pipeline.model.config
    task = TextTask("python-docs", load_corpus("python-docs"), pipeline.tokenizer, config.max_position_embeddings)
    found: dict[str, dict[str, dict[str, float]]] = {}
    for share in options.renoising:
        found[str(share)] = {}
        for number in options.latent_steps:
            steps = [number, options.token_steps]
            pipeline.scheduler = LaddScheduler(path="sequential", steps=steps, latent_renoising=share)
            budget = sum(steps)
            judged = quality_by_evaluations(
                pipeline, [budget], task.judge, options.num_samples, options.num_samples, options.seed
            )
            found[str(share)][str(number)] = dict(judged[budget])
    return found


def table_row(name: str, share: str, scores: dict[str, dict[str, float]]) -> str:
    """Formats a row of the Markdown table: nats per character at each number, and the range of entropies."""
    nats = [f"{one['nats']:.2f}" for one in scores.values()]
    entropies = [one["entropy"] for one in scores.values()]
    return f"| {name} | {share} | {' | '.join(nats)} | {min(entropies):.2f} to {max(entropies):.2f} |"


def main() -> None:
    """Prints a Markdown table, row by row; writes it as JSON if requested."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("pipelines", nargs="+", type=Path, help="folders of Co-LADD pipelines trained on python-docs")
    parser.add_argument("--latent_steps", nargs="+", type=int, default=[1, 2, 4, 16, 64])
    parser.add_argument("--token_steps", type=int, default=4)
    parser.add_argument("--renoising", nargs="+", type=float, default=[0.0, 0.8], help="shares of noise drawn anew")
    parser.add_argument("--num_samples", type=int, default=200)
    parser.add_argument("--seed", type=int, default=42)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    given = {name: value for name, value in vars(options).items() if name not in ("pipelines", "json")}
    found: dict[str, Any] = {**given, "pipelines": {}}
    print(f"| pipeline | drawn anew | {' | '.join(map(str, options.latent_steps))} | entropy |")
    print("| --- " * (len(options.latent_steps) + 3) + "|")
    for folder in options.pipelines:
        name = folder.resolve().parent.name
        found["pipelines"][name] = scores_of(folder, options)
        for share, scores in found["pipelines"][name].items():
            print(table_row(name, share, scores), flush=True)
        if options.json:
            options.json.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    torch.set_grad_enabled(False)
    main()
