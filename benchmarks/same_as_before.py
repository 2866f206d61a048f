"""Compares two checkouts bit for bit: losses, bounds, weights and samples of every recipe.

Each family of recipes is trained for a few steps in both checkouts, one process after the other, each on one thread
with its own package and an empty cache; then samples are drawn with the saved schedule and the joint one. Only public
interfaces of both are used: `examples/train_ladd.py` and its results, the saved pipelines, and their weights. A line
for each family reports the first difference; the exit code is 1 if there is any.

    python benchmarks/same_as_before.py ../before . --json benchmarks/results/same_as_before.json

Other flags are passed to the example. Fields and logs that have another name in NEW: `--renamed OLD=NEW`.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

FAMILIES = {
    "sawtooth di": "sawtooth-di.yaml",
    "sawtooth co": "sawtooth-co.yaml",
    "python-docs di": "python-docs-di.yaml",
    "python-docs co": "python-docs-co.yaml",
    "mdlm": "python-docs-mdlm.yaml",
}
# Besides `--max_steps` and `--num_samples`. Logs of five steps each, since each also reads the latents of held-out
# texts; a judge of few characters, since counting millions of them takes as long as the training.
SETTINGS = {
    "baseline": "false",
    "num_eval_sequences": "16",
    "logging_steps": "5",
    "warmup_steps": "5",
    "judge_characters": "100000",
    "judge_order": "3",
    "seed": "42",
    "cpu_threads": "1",
    "use_cpu": "true",
}
EVALUATIONS = 4

# Run in the checkout: trains by the example's command line, then draws samples from the pipeline it saved.
TRAIN_AND_SAMPLE = """
import runpy, sys
from pathlib import Path

source, output, count, steps, *flags = sys.argv[1:]
sys.path.insert(0, "examples")
sys.argv = ["examples/train_ladd.py", *flags]
runpy.run_path("examples/train_ladd.py", run_name="__main__")

import torch
from safetensors.torch import save_file
import ladd_hf
from ladd_hf import LaddJointScheduler, LaddPipeline

assert Path(ladd_hf.__file__).is_relative_to(source), f"ladd_hf came from {ladd_hf.__file__}"
(index,) = Path(output).glob("*/model_index.json")
samples = {}
for name, options in (("saved", {}), ("joint", {"scheduler": LaddJointScheduler()})):
    pipeline = LaddPipeline.from_pretrained(str(index.parent), **options)
    generator = torch.Generator().manual_seed(0)
    drawn = pipeline(num_steps=int(steps), batch_size=int(count), generator=generator, output_type="seq")
    assert drawn.nfe <= int(steps)
    samples[f"{name} schedule's sequences"] = drawn.sequences
    if drawn.latents is not None:
        samples[f"{name} schedule's latents"] = drawn.latents
save_file(samples, f"{output}/samples.safetensors")
"""


def run(checkout: Path, recipe: str, output: Path, home: Path, flags: list[str], count: int) -> float:
    """Trains a recipe in a checkout and draws `count` samples, in a separate process; returns the seconds it took.

    Raises `RuntimeError` with the end of the process's output if it failed.
    """
    command = [sys.executable, "-c", TRAIN_AND_SAMPLE, checkout / "src", output, str(count), str(EVALUATIONS)]
    command += ["--config", f"examples/configs/{recipe}", "--output_dir", str(output), *flags]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
    environment |= {"PYTHONPATH": str(checkout / "src"), "OMP_NUM_THREADS": "1", "PYTHONHASHSEED": "0"}
    environment |= {"HF_HOME": str(home), "HF_HUB_OFFLINE": "1", "CUDA_VISIBLE_DEVICES": ""}
    start = time.time()
    done = subprocess.run(command, cwd=checkout, env=environment, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{recipe} does not run in {checkout}:\n{(done.stdout + done.stderr)[-3000:]}")
    return time.time() - start


def numbers(results: dict[str, Any], renamed: dict[str, str]) -> Iterator[tuple[str, str]]:
    """Yields a run's logged numbers and bounds as `(name, value)`, in order; exact values, without times."""
    for model, log in results["log"].items():
        for entry in log:
            for name, value in sorted(entry.items()):
                if not name.endswith(("_runtime", "_per_second")):
                    yield f"{renamed.get(name, name)} of {model}, step {entry['step']}", json.dumps(value)
    for model, bounds in results["bounds"].items():
        for name, value in sorted(bounds.items()):
            if not name.endswith(("_runtime", "_per_second")):
                yield f"bound {renamed.get(name, name)} of {model}", json.dumps(value)


def differing_number(old: Path, new: Path, renamed: dict[str, str]) -> tuple[str | None, int]:
    """Returns the first number of OLD's results that is missing or different in NEW's, and the count of numbers."""
    before = list(numbers(json.loads((old / "results.json").read_text()), renamed))
    after = dict(numbers(json.loads((new / "results.json").read_text()), {}))
    for what, value in before:
        if what not in after:
            return f"{what}: not there any more", len(before)
        if after[what] != value:
            return f"{what}: {value} became {after[what]}", len(before)
    return None, len(before)


def differing_tensor(old: Path, new: Path) -> tuple[str | None, int]:
    """Returns the first tensor that is missing or different in the other file, bit for bit, and the count of
    tensors."""
    before, after = load_file(old), load_file(new)
    for name in sorted(before.keys() | after.keys()):
        if name not in after or name not in before:
            return f"{name}: only in {'OLD' if name in before else 'NEW'}", len(before)
        first, second = before[name], after[name]
        if first.dtype != second.dtype or first.shape != second.shape:
            shapes = [f"{one.dtype} of shape {tuple(one.shape)}" for one in (first, second)]
            return f"{name}: {' became '.join(shapes)}", len(before)
        if not torch.equal(first.reshape(-1).view(torch.uint8), second.reshape(-1).view(torch.uint8)):
            unequal = int((first != second).sum())
            furthest = (first.double() - second.double()).abs().max().item()
            return f"{name}: {unequal} of {first.numel()} differ, by up to {furthest:.3g}", len(before)
    return None, len(before)


def compare(old: Path, new: Path, renamed: dict[str, str]) -> dict[str, Any]:
    """Compares two runs of a recipe: the counts of numbers, weights and samples' tensors, and each first difference."""
    (weights,) = (one.relative_to(old) for one in old.glob("*/model/model.safetensors"))
    found = {
        "losses": differing_number(old, new, renamed),
        "weights": differing_tensor(old / weights, new / weights),
        "samples": differing_tensor(old / "samples.safetensors", new / "samples.safetensors"),
    }
    return {
        "same": all(difference is None for difference, _ in found.values()),
        "compared": {name: count for name, (_, count) in found.items()},
        "differences": {name: difference for name, (difference, _) in found.items() if difference is not None},
    }


def commit_of(checkout: Path) -> str:
    """Returns the commit of a checkout, followed by `-dirty` if files differ from it."""
    command = ["git", "-C", str(checkout), "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    done = subprocess.run(command, capture_output=True, text=True)
    return done.stdout.strip() if done.returncode == 0 else "no repository"


def main() -> int:
    """Prints a line for each family; writes the results as JSON if requested."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("old", type=Path, help="Reference checkout.")
    parser.add_argument("new", type=Path, help="Checkout to compare with it.")
    parser.add_argument("--families", nargs="+", default=list(FAMILIES), choices=list(FAMILIES))
    parser.add_argument("--max_steps", type=int, default=50, help="Training steps.")
    parser.add_argument("--num_samples", type=int, default=64, help=f"Samples at {EVALUATIONS} evaluations.")
    parser.add_argument("--renamed", nargs="+", default=[], metavar="OLD=NEW", help="Fields and logs with new names.")
    parser.add_argument("--json", type=Path)
    options, others = parser.parse_known_args()  # other flags are passed to the example
    count = options.num_samples
    renamed = dict(one.split("=", 1) for one in options.renamed)
    checkouts = {"old": options.old.resolve(), "new": options.new.resolve()}
    settings = {**SETTINGS, "max_steps": options.max_steps, "num_samples": count, "sample_batch_size": count}
    settings["budgets"] = EVALUATIONS
    flags = {
        which: [*(f"--{names.get(name, name)}={value}" for name, value in settings.items()), *others]
        for which, names in (("old", {}), ("new", renamed))
    }
    report: dict[str, Any] = {
        **{name: commit_of(checkout) for name, checkout in checkouts.items()},
        "torch": torch.__version__,
        "settings": settings,
        "renamed": renamed,
        "families": {},
    }
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for family in options.families:
            outputs = {which: folder / which / family.replace(" ", "-") for which in checkouts}
            seconds = {
                which: run(checkout, FAMILIES[family], outputs[which], folder / which / "home", flags[which], count)
                for which, checkout in checkouts.items()
            }
            found = compare(outputs["old"], outputs["new"], renamed)
            report["families"][family] = {**found, "seconds": seconds}
            if options.json:  # after each family, so that a later failure loses nothing
                options.json.write_text(json.dumps(report, indent=2) + "\n")
            sizes = ", ".join(f"{n} {name}" for name, n in found["compared"].items())
            first = next((f"{name}: {one}" for name, one in found["differences"].items()), "")
            verdict = f"the same ({sizes})" if found["same"] else f"DIFFERENT in {first}"
            print(f"{family}: {verdict}; {seconds['old']:.0f} s and {seconds['new']:.0f} s", flush=True)
    return int(not all(found["same"] for found in report["families"].values()))


if __name__ == "__main__":
    sys.exit(main())
