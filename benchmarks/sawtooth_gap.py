"""Measures the share of MDLM's distance to the data's entropy that LADD closes, over seeds, as stated in the recipes.

Runs `examples/train_ladd.py` once per recipe and seed and prints the gap closed by the sequential schedule at each
number of evaluations, (MDLM_N - LADD_N) / (MDLM_N - entropy) in nats per token, with the time each run took.

    python benchmarks/sawtooth_gap.py --seeds 0 1 2 --json benchmarks/results/sawtooth_gap.json
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent


def run(recipe: str, seed: int, folder: Path, flags: list[str]) -> dict[str, Any]:
    """Runs a recipe in a separate process, with further flags of the example; returns its results."""
    output = folder / f"{recipe}-{seed}"
    command = [sys.executable, "-m", "accelerate.commands.launch", "examples/train_ladd.py"]
    command += ["--config", f"examples/configs/{recipe}.yaml", "--seed", str(seed), "--output_dir", str(output), *flags]
    subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    return json.loads((output / "results.json").read_text())


def main() -> None:
    """Prints the table; writes it as JSON if requested."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--recipes", nargs="+", default=["sawtooth-di", "sawtooth-co"])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--json", type=Path)
    options, flags = parser.parse_known_args()  # other flags are passed to the example
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for recipe in options.recipes:
            for seed in options.seeds:
                results = run(recipe, seed, Path(folder), flags)
                label = next(name for name in results["comparison"] if name.endswith("sequential"))
                quality = {
                    name: {n: score["nats"] for n, score in scores.items()}
                    for name, scores in results["quality"].items()
                }
                row = {
                    "recipe": recipe,
                    "seed": seed,
                    "entropy": results["reference"]["nats"],
                    "quality": quality,
                    "seconds": results["seconds"],
                    "gap_closed": results["comparison"][label],
                    "versions": results["facts"]["versions"],
                }
                rows.append(row)
                if options.json:  # after each run, so that a later failure loses nothing
                    options.json.write_text(json.dumps(rows, indent=2) + "\n")
                shares = "  ".join(f"{n}: {share:.1%}" for n, share in row["gap_closed"].items())
                best, at_two = quality["MDLM"]["128"], quality[label]["2"]
                print(f"{recipe}, seed {seed}: gap closed at  {shares}", flush=True)
                print(
                    f"    {label} at 2: {at_two:.4f}, MDLM at 128: {best:.4f}; "
                    f"{results['seconds']['everything']:.0f} s in all",
                    flush=True,
                )


if __name__ == "__main__":
    main()
