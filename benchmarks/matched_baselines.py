"""Compares the costs of a LADD recipe and of the baselines that are matched to it: weights, and training operations.

The floating-point operations of a training are counted, not estimated: one step of each stage, forward and backward,
times the steps of the stage. They are those of matrix products and attention; optimiser, averages of weights, and the
k-means that begins a codebook once are not in them.

    python benchmarks/matched_baselines.py --json benchmarks/results/matched_baselines.json
    python benchmarks/matched_baselines.py python-docs-di --find

`--find` prints the sizes and the lengths of an MDLM that match a recipe, such as those in `examples/configs`.
"""

from __future__ import annotations

import argparse
import copy
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from ladd_hf import LaddForDiffusionLM
from ladd_hf.cli.recipes import baseline_arguments, parse_arguments
from ladd_hf.data import make_tokenizer
from ladd_hf.diffusion.time_sampling import TrainingNoise
from ladd_hf.metrics.flops import FlopCounter
from ladd_hf.models.encoders.encoder_options import PretrainedOptions
from ladd_hf.tasks import SawtoothTask, Task, TextTask

ROOT = Path(__file__).resolve().parent.parent
CONFIGS = ROOT / "examples" / "configs"

# Endings of baselines' names, and the number of a `Cost` in which each equals its recipe.
MATCHES = {"flops": "flops", "longer": "flops", "parameters": "parameters", "blocks": "block_weights"}
# Recipes that have matched baselines.
RECIPES = ("python-docs-di", "python-docs-co", "package-docs-gpu-di", "package-docs-gpu-co")


@dataclass(frozen=True)
class Cost:
    """Costs of a recipe.

    Attributes:
        hidden_size: of its streams.
        steps: of the run.
        parameters: weights that a gradient may teach, encoder included; a codebook that is an average is none.
        block_weights: weights of the denoiser's blocks, which the authors equate.
        flops: floating-point operations of the training; a multiplication and an addition are two.
        stages: by name, in order: steps and operations per example of one.
    """

    hidden_size: int
    steps: int
    parameters: int
    block_weights: int
    flops: float
    stages: dict[str, dict[str, float]]


def baselines_of(recipe: str) -> dict[str, str]:
    """Returns the names of a recipe's baselines, and the number that each has in common with it."""
    family, _, method = recipe.rpartition("-")
    plain = f"{family}-mdlm"
    stem = plain if method == "di" else f"{plain}-{method}"
    return {plain: "steps"} | {f"{stem}-{ending}": number for ending, number in MATCHES.items()}


def parsed(recipe: str) -> tuple[Task, Any, Any]:
    """Returns a recipe's task without its texts, its model's settings and its training. Raises `SystemExit` for one
    whose vocabulary or encoder would have to be downloaded."""
    run, model, _, training = parse_arguments([str(CONFIGS / f"{recipe}.yaml"), "--use_cpu"])
    if run.data == "sawtooth":
        return SawtoothTask(run.length), model, training
    if run.tokenizer != "character":
        raise SystemExit(
            f"{recipe} has the tokenizer {run.tokenizer!r}, whose vocabulary needs its texts or a download; recipes "
            "with the tokenizer 'character' and of the sawtooth are counted."
        )
    task = TextTask(run.data, {"train": [], "validation": []}, make_tokenizer("character"), run.length, run.packing)
    return task, model, training


def cost_of(config: Any, training: Any, examples: int = 4) -> Cost:
    """Counts the costs of a training; `examples` is the size of the batch that it is counted on.

    Only the number of masked tokens, whose logits are computed, differs between batches: times are spread evenly over
    one, so it is close to its mean in any. Raises `SystemExit` for a model with a pretrained encoder.
    """
    if isinstance(config.encoder_options, PretrainedOptions):
        raise SystemExit(
            "The recipe has a pretrained encoder, which would have to be downloaded; recipes whose encoder is trained "
            "are counted."
        )
    torch.manual_seed(0)
    model = LaddForDiffusionLM(config).train()
    plan, stages, total = training.stage_plan, {}, 0.0
    batch = training.train_batch_size * training.gradient_accumulation_steps
    for stage, start, (name, steps) in zip(plan.stages, plan.starts, plan.lengths(), strict=True):
        if model.encoder is not None:
            model.freeze_latent_encoder("encoder" in (stage.freeze or ()))
        flops = _flops_of_step(model, training.objective_at(start), examples) / examples
        stages[name] = {"steps": steps, "flops_per_example": flops}
        total += flops * steps * batch
    blocks = sum(weight.numel() for name, weight in model.model.named_parameters() if name.startswith("blocks."))
    return Cost(config.hidden_size, training.max_steps, model.num_parameters(), blocks, total, stages)


def _flops_of_step(model: LaddForDiffusionLM, objective: Any, examples: int) -> int:
    config = model.config
    never = (config.mask_token_id, config.pad_token_id)
    ids = torch.tensor([one for one in range(config.vocab_size) if one not in never])
    texts = ids[torch.randint(len(ids), (examples, config.max_position_embeddings))]
    noise = TrainingNoise(0, torch.arange(examples))
    counts = []
    for _ in range(2):  # the first step of a codebook begins with k-means
        if model.quantizer is not None:
            model.quantizer.start_step()
        with FlopCounter() as counter:
            model(input_ids=texts, labels=texts, objective=objective, noise=noise, loss_only=True).loss.backward()
        counts.append(counter.flops)
    return counts[-1]


def of_recipe(recipe: str, examples: int = 4) -> Cost:
    """Counts the costs of a recipe by name."""
    task, model, training = parsed(recipe)
    return cost_of(model.config(task, latents=True), training, examples)


def matching(recipe: str, heads: int | None = None, examples: int = 8) -> Iterator[tuple[str, Cost, float]]:
    """Yields endings of names, the cost of the MDLM beside a recipe with another size or length, and its ratio.

    Sizes are those closest to the recipe in each number, among those whose heads have an even number of dimensions;
    `heads` is their number, if not the recipe's. Batch, learning rate and all else are the recipe's.
    """
    task, model, training = parsed(recipe)
    target = cost_of(model.config(task, latents=True), training, examples)
    config, training = model.config(task, latents=False), baseline_arguments(training, Path(training.output_dir))
    plain = cost_of(config, training, examples)
    longer = copy.deepcopy(training)
    longer.max_steps = round(plain.steps * target.flops / plain.flops)
    cost = cost_of(config, longer, examples)
    yield "longer", cost, cost.flops / target.flops

    heads = heads or config.num_attention_heads

    def at(size: int) -> Cost:
        wider = {**config.to_dict(), "hidden_size": size, "num_attention_heads": heads}
        return cost_of(type(config).from_dict(wider), training, examples)

    for ending in ("flops", "parameters", "blocks"):
        number, step = MATCHES[ending], 2 * heads
        cost = _closest(at, config.hidden_size // step * step, step, number, getattr(target, number))
        yield ending, cost, getattr(cost, number) / getattr(target, number)


def _closest(at: Callable[[int], Cost], size: int, step: int, number: str, target: float) -> Cost:
    """Returns the cost, of sizes in steps from one that costs less, whose `number` is closest to `target`."""
    below = at(size)
    while getattr(above := at(below.hidden_size + step), number) < target:
        below = above
    return min(below, above, key=lambda cost: abs(getattr(cost, number) - target))


HEAD = (
    "| recipe | hidden | steps | parameters | weights of blocks | training operations | matched |\n"
    + "| --- " * 7
    + "|"
)


def table_row(name: str, cost: Cost, target: Cost, matched: str = "") -> str:
    """Formats a row of the Markdown table: numbers, and ratios to the recipe's."""
    numbers = {"parameters": f"{cost.parameters:,}", "block_weights": f"{cost.block_weights:,}"}
    numbers["flops"] = f"{cost.flops:.4g}"
    cells = [f"{text} ({getattr(cost, n) / getattr(target, n):.3f})" for n, text in numbers.items()]
    return f"| {' | '.join([f'`{name}`', str(cost.hidden_size), f'{cost.steps:,}', *cells])} | {matched} |"


def main() -> None:
    """Prints Markdown tables, one for each recipe; writes them as JSON if requested."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("recipes", nargs="*", help=f"some of {', '.join(RECIPES)}; all if not given")
    parser.add_argument("--examples", type=int, default=16, help="size of the batch that is counted")
    parser.add_argument("--find", action="store_true", help="print sizes and lengths that match, of any recipe")
    parser.add_argument("--heads", type=int, help="with --find: attention heads of the MDLM, if not the recipe's")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    if options.find:
        for recipe in options.recipes or RECIPES:
            for ending, cost, ratio in matching(recipe, options.heads):
                print(f"{recipe}, {ending}: hidden {cost.hidden_size}, {cost.steps} steps: {ratio:.4f}", flush=True)
        return
    if unknown := [name for name in options.recipes if name not in RECIPES]:
        parser.error(f"There are no matched baselines of {unknown}; give some of {list(RECIPES)}, or --find.")
    found: dict[str, Any] = {}
    for recipe in options.recipes or RECIPES:
        target = of_recipe(recipe, options.examples)
        print(f"\n{HEAD}\n{table_row(recipe, target, target)}", flush=True)
        rows: dict[str, Any] = {recipe: vars(target)}
        for name, matched in baselines_of(recipe).items():
            cost = of_recipe(name, options.examples)
            print(table_row(name, cost, target, matched.replace("_", " ")), flush=True)
            ratios = {n: getattr(cost, n) / getattr(target, n) for n in ("parameters", "block_weights", "flops")}
            rows[name] = {**vars(cost), "matched": matched, "ratios": ratios}
        found[recipe] = rows
        if options.json:
            options.json.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
