"""Makes the pipelines that travel with the package, `src/ladd_hf/included/`, anew.

    python benchmarks/make_included_pipelines.py --threads 1
    python benchmarks/make_included_pipelines.py --cards    # their cards alone, from what was measured

Trains what is missing in `--folder` (three quarters of an hour on one CPU core), rounds the averaged weights to
bfloat16, and saves them with the temperatures at which samples of all models are equally rich (docs/ablations.md). What
the rounded weights write is measured and recorded, in `benchmarks/results/` or in another `--target`. It is what the
metadata of their cards say, and stands in the cards before what was measured of the unrounded weights.

Other flags are passed to the trainings.
"""

from __future__ import annotations

import argparse
import re
import shutil
from pathlib import Path

import torch
from diffusers.utils import logging as diffusers_logging
from huggingface_hub import ModelCard
from text_table import ROOT, Run, trained
from transformers.utils import logging as transformers_logging

from ladd_hf import EvaluationSettings, LaddPipeline, evaluate_models
from ladd_hf.evaluation.results import EvaluationResults
from ladd_hf.pipelines.included import FOLDER
from ladd_hf.training.model_card import Conditions, SampleScores, ScoresBeside, Temperatures

RESULTS = ROOT / "benchmarks" / "results"
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


def scores_of(found: EvaluationResults) -> SampleScores:
    """Returns the scores of a saved pipeline's samples as a card has them, under the name of its schedule."""
    main, entropy = found.task["measures"]
    model, settings = found.model, found.settings
    label = model["method"] + (f" {model['scheduler']['path']}" if model["method"] != "MDLM" else "")

    def by_budget(number: str) -> dict[str, dict[int, float]]:
        return {label: {row["num_steps"]: row[number] for row in found.rows}}

    name = entropy["name"]
    circumstances = found.circumstances
    return SampleScores(
        by_budget(main["name"]),
        main["metric"],
        main["about"],
        Conditions(found.task["name"], circumstances["dtype"], settings["seed"], circumstances["hardware"]),
        settings["num_samples"],
        Temperatures(model["scheduler"]["temperature"], model["scheduler"]["latent_temperature"]),
        beside=[ScoresBeside(name, entropy["metric"], by_budget(name), errors=by_budget(f"{name}_stderr"))],
        exact=found.task["exact"],
        errors=by_budget(f"{main['name']}_stderr"),
    )


def table_of(scores: SampleScores) -> list[str]:
    """Returns the lines of the table of a card."""
    (nats,), (errors,), (entropy,) = (one.values() for one in (scores.scores, scores.errors, scores.beside[0].scores))
    cells = {
        "evaluations": map(str, scores.budgets),
        "---": ["---"] * len(scores.budgets),
        scores.metric: (f"{nats[n]:.2f} ± {errors[n]:.2f}" for n in scores.budgets),
        scores.beside[0].name: (f"{entropy[n]:.2f}" for n in scores.budgets),
    }
    return [f"| {label} | {' | '.join(row)} |" for label, row in cells.items()]


def card_of(card: str, name: str, recipe: str, scores: SampleScores) -> str:
    """Returns the card of a training with what is true of the pipeline as it travels, in its text and its metadata; of
    such a card, the same with these scores."""
    head = "\n## Quality by number of denoiser evaluations\n"
    use = f'LaddPipeline.from_pretrained(included_pipeline("{name}"))'
    command = f"\nladd train {recipe}"  # which needs no clone
    card = re.sub(r"\n## As it is here\n.*?(?=\n## )", "", card, flags=re.DOTALL)
    card = re.sub(r"LaddPipeline\.from_pretrained\((?:included_pipeline\()?\"[^\"]*\"\)+", use, card)
    card = card.replace("from ladd_hf import LaddPipeline\n", "from ladd_hf import LaddPipeline, included_pipeline\n")
    card = re.sub(rf"\n(?:\w+ )+\S*train_ladd\.py --config \S*{recipe}\.yaml", command, card)
    assert card.count(head) == card.count(use) == card.count(command) == 1, "the card is not one of a training"
    about = (
        "\n## As it is here\n\nThe weights of the training below, rounded to bfloat16, and its schedule at "
        f"temperature {scores.temperatures_of('').tokens}. {scores.num_samples} samples of them, computed in "
        f"{scores.conditions.dtype} (`dtype=torch.{scores.conditions.dtype}`), seed {scores.conditions.seed}, under "
        "the same judge:\n\n"
    )
    after = "\n\nWhat follows was measured before rounding, at temperature 1.\n"
    found = ModelCard(card.replace(head, about + "\n".join(table_of(scores)) + after + head))
    found.data.eval_results = scores.results()
    return str(found)


def record_of(name: str, target: Path) -> Path:
    """Returns the file of what was measured of a pipeline: with the other results, if it is the package's own."""
    return (RESULTS if target == FOLDER else target) / f"included-{name}.json"


def write_card(card: str, name: str, target: Path, results: EvaluationResults) -> None:
    """Writes the card of an included pipeline into its folder."""
    recipe, _, _ = PIPELINES[name]
    (target / name / "README.md").write_text(card_of(card, name, recipe, scores_of(results)))


def make(options: argparse.Namespace, flags: list[str]) -> None:
    """Trains, rounds, measures, and writes the folders."""
    runs = [Run(recipe, SEED, tuple(flags), options.folder / recipe) for recipe, _, _ in PIPELINES.values()]
    settings = EvaluationSettings(options.budgets, ["saved"], num_samples=SAMPLES, batch_size=100, seed=SEED)
    for (run, _), (name, (_, kind, temperature)) in zip(trained(runs, options.threads), PIPELINES.items(), strict=True):
        source, target = run.folder / kind, options.target / name
        rounded(source, target, temperature)
        measured = options.folder / f"evaluation-{name}"
        (results,) = evaluate_models([str(target)], DATA, settings, measured, dtype=torch.float32, tell=print).results
        shutil.copy(measured / f"{name}.json", record_of(name, options.target))
        write_card((source / "README.md").read_text(), name, options.target, results)
        size = sum(path.stat().st_size for path in target.rglob("*") if path.is_file())
        if size > MOST_BYTES:
            raise SystemExit(f"{target} has {size:,} bytes, more than {MOST_BYTES:,}.")
        print(f"{target}: {size:,} bytes")


def main() -> None:
    """Makes the folders, or their cards alone."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0], allow_abbrev=False)
    parser.add_argument("--folder", type=Path, default=Path("out/included"), help="of the trainings")
    parser.add_argument("--target", type=Path, default=FOLDER, help="of the pipelines; by default the package's own")
    parser.add_argument("--cards", action="store_true", help="write the cards alone, with what was measured before")
    parser.add_argument("--threads", type=int, default=0, help="of each training; 0: all cores")
    parser.add_argument("--budgets", type=int, nargs="+", default=[2, 4, 8, 16, 32])
    options, flags = parser.parse_known_args()
    if options.cards:
        for name in PIPELINES:
            results = EvaluationResults.load(record_of(name, options.target))
            write_card((options.target / name / "README.md").read_text(), name, options.target, results)
        return
    for library in (diffusers_logging, transformers_logging):
        library.disable_progress_bar()
    if options.threads:
        torch.set_num_threads(options.threads)
    make(options, flags)


if __name__ == "__main__":
    main()
