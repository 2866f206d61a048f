"""Ablations of sampling on text: pipelines of a recipe, sampled with one setting changed at a time.

    accelerate launch examples/train_ladd.py --config examples/configs/python-docs-di.yaml
    python benchmarks/text_sampling.py out/python-docs-di/mdlm out/python-docs-di/di-ladd

Each number of evaluations is scored as in the recipe, by the 6-gram judge of python-docs and the mean entropy of a
sample's characters. Settings that a pipeline does not have are left out. Samples are the same on every machine;
seconds are not reported.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import torch

from ladd_hf import LaddPipeline, LaddScheduler
from ladd_hf.data import load_corpus
from ladd_hf.metrics import quality_by_evaluations
from ladd_hf.tasks import TextTask

# Changed settings of the scheduler; all others are as saved with the pipeline.
CHANGES: dict[str, dict[str, Any]] = {
    "as saved": {},
    "a quarter of the steps for the latents": {"latent_share": 0.25},
    "half of the steps for the latents": {"latent_share": 0.5},
    "nine tenths of the steps for the latents": {"latent_share": 0.9},
    "cosine grid of times": {"timestep_spacing": "cosine"},
    "evenly many tokens a step": {"unmasking": "first_hitting"},
    "surest tokens first": {"unmasking": "top_probability"},
    "DDPM steps of the latents": {"latent_solver": "ddpm"},
    "half of the latents' noise drawn anew": {"latent_renoising": 0.5},
    "length of predicted latents put back": {"latent_rescaling": "l2"},
}
OF_VECTORS = {"latent_solver", "latent_renoising", "latent_rescaling"}


def changed(pipeline: LaddPipeline, saved: LaddScheduler, change: dict[str, Any]) -> LaddScheduler | None:
    """Returns the saved scheduler with these settings; `None` if it has none of that name, or the model nothing that
    they act on."""
    config = pipeline.model.config
    of_codes = config.latent_type != "continuous" and bool(OF_VECTORS & change.keys())
    if of_codes or not change.keys() <= saved.config.keys():
        return None
    try:
        return type(saved).from_config(saved.config, **change).for_model(config)
    except ValueError:  # the setting is not for its latents
        return None


def table_row(name: str, quality: dict[Any, dict[str, float]], budgets: list[int]) -> str:
    """Formats a row of the Markdown table: nats per character at each number of evaluations, and the range of
    entropies."""
    scores = {int(n): score for n, score in quality.items()}
    nats = [f"{scores[n]['nats']:.2f}" if n in scores else "" for n in budgets]
    entropies = [score["entropy"] for score in scores.values()]
    return f"| {name} | {' | '.join(nats)} | {min(entropies):.2f} to {max(entropies):.2f} |"


def main() -> None:
    """Prints a Markdown table, row by row; writes it as JSON if requested."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("pipelines", nargs="+", type=Path, help="folders of pipelines trained on python-docs")
    parser.add_argument("--rows", nargs="+", choices=list(CHANGES), default=list(CHANGES), metavar="ROW")
    parser.add_argument("--budgets", nargs="+", type=int, default=[2, 4, 8, 16, 32])
    parser.add_argument("--num_samples", type=int, default=300)
    parser.add_argument("--seed", type=int, default=42)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    given = {name: getattr(options, name) for name in ("budgets", "num_samples", "seed")}
    found: dict[str, Any] = {**given, "rows": {}}
    print(f"| pipeline | sampling | {' | '.join(map(str, options.budgets))} | entropy |")
    print("| --- " * (len(options.budgets) + 3) + "|")
    for folder in options.pipelines:
        pipeline = LaddPipeline.from_pretrained(folder)
        pipeline.set_progress_bar_config(disable=True)
        saved = pipeline.scheduler
        task = TextTask(
            "python-docs", load_corpus("python-docs"), pipeline.tokenizer, pipeline.model.config.max_position_embeddings
        )
        for row in options.rows:
            if (scheduler := changed(pipeline, saved, CHANGES[row])) is None:
                print(f"{folder.name}: {row}: not for its latents", file=sys.stderr)
                continue
            pipeline.scheduler = scheduler
            scores = quality_by_evaluations(
                pipeline, options.budgets, task.judge, options.num_samples, options.num_samples, options.seed
            )
            quality = {n: dict(score) for n, score in scores.items()}
            name = f"{folder.name} | {row}"
            print(table_row(name, quality, options.budgets), flush=True)
            found["rows"][name] = {"settings": CHANGES[row], "quality": quality}
    if options.json:
        options.json.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    torch.set_grad_enabled(False)
    main()
