"""Ablation of the noise that continuous latents may keep: in tuned schedules, and in the marginalised bound.

    accelerate launch examples/train_ladd.py --config examples/configs/sawtooth-co.yaml --seed 0 --output_dir out/co
    python benchmarks/latent_width.py out/co/co-ladd --data sawtooth --json benchmarks/results/latent_width.json

For each width, noise as a share of the latents' signal: samples of the schedule that is tuned with it, under the judge,
and the marginalised bound of the saved schedule's runs with latents that keep it.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ladd_hf import LaddPipeline, tune_schedule
from ladd_hf.evaluation import task_for
from ladd_hf.metrics import quality_by_evaluations


def main() -> None:
    """Prints a Markdown table, row by row; writes it as JSON if requested."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0], allow_abbrev=False)
    parser.add_argument("pipeline", type=Path, help="folder of a pipeline with continuous latents")
    parser.add_argument("--data", default="sawtooth")
    parser.add_argument("--widths", nargs="+", type=float, default=[0.1, 0.3, 0.5, 1.0, 2.0])
    parser.add_argument("--budgets", nargs="+", type=int, default=[2, 4, 8])
    parser.add_argument("--num_samples", type=int, default=500)
    parser.add_argument("--num_texts", type=int, default=100)
    parser.add_argument("--num_proposals", type=int, default=16)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    pipeline = LaddPipeline.from_pretrained(options.pipeline)
    pipeline.set_progress_bar_config(disable=True)
    task, model, saved = task_for(pipeline, options.data), pipeline.model, pipeline.scheduler
    examples = list(task.eval_dataset(2 * options.num_texts, options.seed))
    tuning, held_out = examples[::2], examples[1::2]
    texts = torch.from_numpy(np.stack([np.asarray(row["input_ids"]) for row in held_out]))
    rows: list[dict[str, Any]] = []
    print(
        f"| width | {' | '.join(f'tuned, {n}' for n in options.budgets)} | "
        + " | ".join(f"bound, {n}" for n in options.budgets)
        + " |"
    )
    print("| --- " * (1 + 2 * len(options.budgets)) + "|")
    for width in options.widths:
        pipeline.scheduler = tune_schedule(model, tuning, options.budgets, latent_width=width, seed=options.seed)
        runs = {n: pipeline.scheduler.run(n) for n in options.budgets}
        quality = quality_by_evaluations(
            pipeline, options.budgets, task.judge, options.num_samples, options.num_samples, options.seed
        )
        bounds = {}
        for budget in options.budgets:
            bound = model.nelbo(
                texts,
                run=saved.run(budget),
                num_proposals=options.num_proposals,
                proposal_width=width,
                generator=torch.Generator().manual_seed(options.seed),
            )
            bounds[budget] = {"nats": bound.nats_per_token, "stderr": bound.nats_per_token_stderr}
        rows.append({"width": width, "runs": runs, "tuned": {n: dict(q) for n, q in quality.items()}, "bounds": bounds})
        main_measure = task.measures[0].name
        cells = [f"{quality[n][main_measure]:.4f}" for n in options.budgets]
        cells += [f"{bounds[n]['nats']:.4f}" for n in options.budgets]
        print(f"| {width:g} | {' | '.join(cells)} |", flush=True)
    if options.json:
        given = {name: getattr(options, name) for name in ("data", "num_samples", "num_texts", "num_proposals", "seed")}
        options.json.write_text(json.dumps({**given, "rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    torch.set_grad_enabled(False)
    main()
