"""What each choice of the text recipe is worth: short runs of python-docs-di.yaml, each with one setting changed.

Two questions, since latents must first say something before a prior over them can be worth anything:

* `latents`: stage 1 alone, from nothing. How many tokens does one evaluation recover from a text's own latents, from
  another text's, and from none?
* `samples`: a whole run, without the baseline. How do samples score at each number of evaluations?

    python benchmarks/text_ablations.py latents --json benchmarks/results/text_latents.json
    python benchmarks/text_ablations.py samples --rows recipe "no MDLM before" --json results.json
    python benchmarks/text_ablations.py latents --rows recipe "8 characters a code" --seed 1

Flags that are not its own go to the example, and so override the recipe in every row.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
RECIPE = "examples/configs/python-docs-di.yaml"

CHANGES: dict[str, dict[str, str]] = {
    "latents": {
        "recipe": "",
        "an MDLM of 400 steps before": "--mdlm_steps 400 --max_steps 800",
        "no unpooling": "--latent_unpooling none",
        "no unpooling, concatenated positions": "--latent_unpooling none --latent_positions concatenated",
        "linear readout of chunks": "--encoder_readout chunk",
        "readout at the last positions": "--encoder_readout last",
        "finite scalar, 8x8x8x8": "--quantizer finite_scalar --fsq_levels 8 8 8 8",
        "finite scalar, 4x4x4x4x4x4": "--quantizer finite_scalar --fsq_levels 4 4 4 4 4 4",
        "no fully masked examples": "--stage_1_fully_masked_share 0",
        "no quantiser dropout": "--stage_1_quantizer_dropout 0",
        "encoder corruption 0.9": "--encoder_corruption 0.9",
        "2 characters a code": "--latent_length 32",
        "8 characters a code": "--latent_length 8",
    },
    "samples": {
        "recipe": "",
        "no MDLM before": "--mdlm_steps 0",
        "no pooling": "--latent_pooling none",
        "neither": "--mdlm_steps 0 --latent_pooling none",
        "codes alone: no loss on tokens beside them": "--time_distribution sequential --fully_masked_share 0",
        "codes' degree-2 schedule": "--latent_noise_schedule polynomial",
        "half of the steps for the codes": "--latent_share 0.5",
        "longer stage 1": "--stage_1_steps 1000",
        "2 characters a code": "--latent_length 32",
        "8,192 codes": "--codebook_size 8192",
    },
}
FIXED = {
    "latents": "--mdlm_steps 0 --max_steps 400 --stage_1_steps 400 --logging_steps 50 --budgets 2 --num_samples 2 "
    "--num_eval_sequences 256 --nelbo_samples 1",
    "samples": "",
}


def run(question: str, row: str, folder: Path, flags: list[str]) -> dict[str, Any]:
    """One run of the example in a process of its own; what it found."""
    output, start = folder / f"{len(list(folder.iterdir()))}", time.time()
    command = [sys.executable, "-m", "accelerate.commands.launch", "examples/train_ladd.py", "--config", RECIPE]
    command += ["--baseline", "false", "--output_dir", str(output), *FIXED[question].split()]
    command += [*CHANGES[question][row].split(), *flags]
    subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    results = json.loads((output / "results.json").read_text())
    history = [entry for entry in results["log"]["ladd"] if "decoded_true" in entry]
    names = ("step", "decoded_true", "decoded_shuffled", "decoded_none", "codes_in_batch", "token_loss", "latent_loss")
    return {
        "row": row,
        "flags": CHANGES[question][row],
        "latents": [{name: entry[name] for name in names if name in entry} for entry in history],
        "quality": results["quality"] if question == "samples" else {},
        "reference": results["reference"],
        "seconds": round(time.time() - start),
        "facts": results["facts"],
    }


def show(question: str, outcome: dict[str, Any]) -> str:
    """A row of the table."""
    last = outcome["latents"][-1]
    if question == "latents":
        accuracies = "  ".join(f"{name} {last[f'decoded_{name}']:.1%}" for name in ("true", "shuffled", "none"))
        return f"{outcome['row']:<40}{accuracies}  ({last['codes_in_batch']:.0f} codes a batch, {outcome['seconds']} s)"
    _, scores = list(outcome["quality"].items())[-1]
    cells = "  ".join(f"{n}: {score['nats']:.3f} ({score['entropy']:.2f})" for n, score in scores.items())
    return f"{outcome['row']:<40}{cells}  (decodes {last['decoded_true']:.1%}, {outcome['seconds']} s)"


def main() -> None:
    """Prints a table row by row; writes it as JSON where asked to."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("question", choices=sorted(CHANGES))
    parser.add_argument("--rows", nargs="+", help="names of rows; all if not given")
    parser.add_argument("--json", type=Path)
    options, flags = parser.parse_known_args()
    rows = options.rows or list(CHANGES[options.question])
    if unknown := [row for row in rows if row not in CHANGES[options.question]]:
        parser.error(f"There are no rows {unknown}; give some of {list(CHANGES[options.question])}.")
    outcomes = []
    with tempfile.TemporaryDirectory() as folder:
        for row in rows:
            outcomes.append(run(options.question, row, Path(folder), flags))
            print(show(options.question, outcomes[-1]), flush=True)
            if options.json:  # after each run, so that a later one that fails loses nothing
                options.json.write_text(json.dumps({"flags": flags, "rows": outcomes}, indent=1) + "\n")


if __name__ == "__main__":
    main()
