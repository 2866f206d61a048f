"""Makes the pipelines that travel with the package, `src/ladd_hf/included/`, anew.

    python benchmarks/make_included_pipelines.py out/included --threads 1

Trains what is missing in the folder (three quarters of an hour on one CPU core), rounds the averaged weights to
bfloat16, and saves them with the temperatures at which samples of all models are equally rich (docs/ablations.md). What
the rounded weights write is measured, and stands in their cards before what was measured of the unrounded ones.
"""

from __future__ import annotations

import argparse
import re
import shutil
from pathlib import Path

import torch
from diffusers.utils import logging as diffusers_logging
from text_table import Run, trained
from transformers.utils import logging as transformers_logging

from ladd_hf import EvaluationSettings, LaddPipeline, evaluate_models
from ladd_hf.pipelines.included import FOLDER

DATA, SEED, SAMPLES = "python-docs", 42, 300
MOST_BYTES = 6_000_000
# Name: its recipe, which of its pipelines, and the temperature of tokens and latents.
PIPELINES = {
    "python-docs-di": ("python-docs-di", "di-ladd", 0.6),
    "python-docs-mdlm": ("python-docs-mdlm-flops", "mdlm", 0.8),
}


def rounded(source: Path, target: Path, temperature: float) -> None:
    """Saves a pipeline in bfloat16, with its schedule at a temperature."""
    pipe = LaddPipeline.from_pretrained(source, dtype=torch.bfloat16)
    latents = {} if pipe.model.config.latent_type == "none" else {"latent_temperature": temperature}
    pipe.scheduler = type(pipe.scheduler).from_config(pipe.scheduler.config, temperature=temperature, **latents)
    shutil.rmtree(target, ignore_errors=True)
    pipe.save_pretrained(target)


def table_of(folder: Path, budgets: list[int], results: Path) -> list[str]:
    """Returns the lines of a table of scores of a saved pipeline's samples."""
    settings = EvaluationSettings(budgets, ["saved"], num_samples=SAMPLES, batch_size=100, seed=SEED)
    (found,) = evaluate_models([str(folder)], DATA, settings, results, dtype=torch.float32, tell=print).results
    rows = {row["num_steps"]: row for row in found.rows}
    scores = [f"{rows[n]['nats']:.2f} ± {rows[n]['nats_stderr']:.2f}" for n in budgets]
    entropies = [f"{rows[n]['entropy']:.2f}" for n in budgets]
    return [
        f"| evaluations | {' | '.join(map(str, budgets))} |",
        "| --- " * (len(budgets) + 1) + "|",
        f"| nats per character | {' | '.join(scores)} |",
        f"| entropy | {' | '.join(entropies)} |",
    ]


def card_of(card: str, name: str, temperature: float, table: list[str]) -> str:
    """Returns the card of a training with what is true of the pipeline as it travels."""
    use = f'LaddPipeline.from_pretrained(included_pipeline("{name}"))'
    card = re.sub(r"LaddPipeline\.from_pretrained\(\"[^\"]*\"\)", use, card)
    card = card.replace("from ladd_hf import LaddPipeline\n", "from ladd_hf import LaddPipeline, included_pipeline\n")
    head = "\n## Quality by number of denoiser evaluations\n"
    assert card.count(head) == 1 and card.count(use) == 1
    about = (
        "\n## As it is here\n\nThe weights of the training below, rounded to bfloat16, and its schedule at "
        f"temperature {temperature}. {SAMPLES} samples of them, computed in float32 (`dtype=torch.float32`), seed "
        f"{SEED}, under the same judge:\n\n"
    )
    after = "\n\nWhat follows was measured before rounding, at temperature 1.\n"
    return card.replace(head, about + "\n".join(table) + after + head)


def main() -> None:
    """Trains, rounds, measures, and writes the folders."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0], allow_abbrev=False)
    parser.add_argument("folder", type=Path, help="of the trainings")
    parser.add_argument("--target", type=Path, default=FOLDER, help="of the pipelines; by default the package's own")
    parser.add_argument("--threads", type=int, default=0, help="of each training; 0: all cores")
    parser.add_argument("--budgets", type=int, nargs="+", default=[2, 4, 8, 16, 32])
    options, flags = parser.parse_known_args()
    for library in (diffusers_logging, transformers_logging):
        library.disable_progress_bar()
    if options.threads:
        torch.set_num_threads(options.threads)
    runs = [Run(recipe, SEED, tuple(flags), options.folder / recipe) for recipe, _, _ in PIPELINES.values()]
    for (run, _), (name, (_, kind, temperature)) in zip(trained(runs, options.threads), PIPELINES.items(), strict=True):
        source, target = run.folder / kind, options.target / name
        rounded(source, target, temperature)
        table = table_of(target, options.budgets, options.folder / f"evaluation-{name}")
        card = (source / "README.md").read_text()
        (target / "README.md").write_text(card_of(card, name, temperature, table))
        size = sum(path.stat().st_size for path in target.rglob("*") if path.is_file())
        if size > MOST_BYTES:
            raise SystemExit(f"{target} has {size:,} bytes, more than {MOST_BYTES:,}.")
        print(f"{target}: {size:,} bytes")


if __name__ == "__main__":
    main()
