"""Ablations of the text recipes: runs of `python-docs-di.yaml`, each with one setting changed.

Three experiments, the first since a prior over latents is useful only if the latents are informative:

* `latents`: stage 1 alone, from scratch. It measures how many tokens one evaluation recovers from a text's own latents,
  from another text's, and from none.
* `samples`: a whole run, without the baseline. It measures the score of samples at each number of evaluations.
* `continuous`: the same of `python-docs-co.yaml`, smaller and shorter. The row whose times are spread over what another
  row's model decodes needs that one kept (`--keep`).

    python benchmarks/text_ablations.py latents --parallel 2 --json benchmarks/results/text_latents.json
    python benchmarks/text_ablations.py samples --parallel 2 --json benchmarks/results/text_samples.json
    python benchmarks/text_ablations.py continuous --keep out/continuous --json benchmarks/results/text_continuous.json
    python benchmarks/text_ablations.py latents --rows recipe "8 characters a code" --seed 1

Rows in parallel share the cores evenly; `--keep FOLDER` keeps each row's pipelines there, for further sampling. Other
flags are passed to the example, and override every row's, including `--cpu_threads`; so the number of threads is
recorded by the run itself, in its `facts` (`hardware`). An existing file of results keeps its other rows: `--rows` adds
to them or replaces them.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from ladd_hf import LaddPipeline
from ladd_hf.data import load_corpus
from ladd_hf.metrics import decoding_schedule
from ladd_hf.tasks import TextTask

ROOT = Path(__file__).resolve().parent.parent
CONFIGS = ROOT / "examples" / "configs"

# Settings of several rows of continuous latents
_OBSCURED = "--latent_noise_time 0.3 --latent_mask_share 0.3 --latent_replacement_share 0.25"
_SEPARATE = (
    """--latent_prediction_type v --latent_denoiser '{"name":"separate","num_layers":2}' --latent_pooling none"""
)

# A row's flags, after the recipe if it is not python-docs-di.yaml
CHANGES: dict[str, dict[str, str]] = {
    "latents": {
        "recipe": "",
        "an MDLM of 400 steps before": """--stages '{"mdlm":{"steps":400},"encoder":{"steps":null},"prior":null}' """
        "--max_steps 800",
        "no unpooling": "--latent_unpooling none",
        "no unpooling, concatenated positions": "--latent_unpooling none --latent_positions concatenated",
        "linear readout of chunks": "--encoder '{readout: chunk}'",
        "readout at the last positions": "--encoder '{readout: last}'",
        "finite scalar, 8x8x8x8": "--quantizer '{name: finite_scalar, levels: [8, 8, 8, 8]}'",
        "finite scalar, 4x4x4x4x4x4": "--quantizer '{name: finite_scalar, levels: [4, 4, 4, 4, 4, 4]}'",
        "no fully masked examples": """--stages '{"mdlm":null,"prior":null,"""
        """"encoder":{"steps":null,"objective":{"fully_masked_share":0}}}'""",
        "no quantiser dropout": """--stages '{"mdlm":null,"prior":null,"""
        """"encoder":{"steps":null,"objective":{"quantizer_dropout":0}}}'""",
        "encoder corruption 0.9": "--encoder_corruption 0.9",
        "2 characters a code": "--latent_length 32",
        "8 characters a code": "--latent_length 8",
    },
    "samples": {
        "MDLM": "python-docs-mdlm.yaml",
        "recipe": "",
        "Co-LADD": "python-docs-co.yaml --latent_prediction_type sample",
        "Co-LADD, more noise around latents": "python-docs-co.yaml --latent_prediction_type sample "
        "--encoder '{std: 0.7}'",
        "Co-LADD, latents' loss times 8": "python-docs-co.yaml --latent_prediction_type sample --latent_loss_weight 8",
        "no MDLM before": """--stages '{"mdlm":null}'""",
        "no pooling": "--latent_pooling none",
        "codes alone: no loss on tokens beside them": "--time_distribution sequential --fully_masked_share 0",
        "codes' degree-2 schedule": "--latent_noise_schedule polynomial",
        "half of the steps for the codes": "--latent_share 0.5",
        "longer stage 1": """--stages '{"encoder":{"steps":1000}}'""",
        "2 characters a code": "--latent_length 32",
        "8,192 codes": "--codebook_size 8192",
        "codes' degree-4 schedule": "--latent_noise_schedule '{name: polynomial, degree: 4}'",
        "2 codes more for the whole text": "--latent_length 18 --global_latents 2",
        "codes with a network of their own": "--latent_pooling none "
        """--latent_denoiser '{"name":"separate","num_layers":2}'""",
        # its teacher takes a third of a step's operations: 600 of these for 800 without
        "consistency of tokens in the last 600": """--max_steps 2800 --stages '[{"name":"mdlm","steps":1000},"""
        """{"name":"encoder","steps":300,"objective":{"fully_masked_share":0.6,"quantizer_dropout":0.5}},"""
        """{"name":"prior","steps":900},{"name":"consistency","objective":{"consistency_min_jump":0.5}}]'""",
        "Co-LADD, anchors, all that gains": "python-docs-co.yaml --latent_self_conditioning true "
        f"--adaptive_times true {_OBSCURED}",
    },
    "continuous": {
        "MDLM": "python-docs-mdlm.yaml",
        "y_0": "python-docs-co.yaml --latent_prediction_type sample",
        "v": "python-docs-co.yaml --latent_prediction_type v",
        "preconditioned": "python-docs-co.yaml --latent_prediction_type preconditioned",
        "preconditioned, self-conditioning": "python-docs-co.yaml --latent_prediction_type preconditioned "
        "--latent_self_conditioning true",
        "preconditioned, tan 3": "python-docs-co.yaml --latent_prediction_type preconditioned "
        "--latent_noise_schedule '{name: tan, d: 3}'",
        "anchors": "python-docs-co.yaml",
        "anchors, not snapped": "python-docs-co.yaml "
        "--latent_prediction_type '{name: anchors, count: 4096, snap: false}'",
        "1,024 anchors": "python-docs-co.yaml --latent_prediction_type '{name: anchors, count: 1024}'",
        "anchors, self-conditioning": "python-docs-co.yaml --latent_self_conditioning true",
        "anchors, no noise around latents": "python-docs-co.yaml --encoder '{variance: none}'",
        "y_0, no noise around latents": "python-docs-co.yaml --latent_prediction_type sample "
        "--encoder '{variance: none}'",
        "anchors, tan 2": "python-docs-co.yaml --latent_noise_schedule '{name: tan, d: 2}'",
        "anchors, tan 5": "python-docs-co.yaml --latent_noise_schedule '{name: tan, d: 5}'",
        "anchors, unpooling modulated": "python-docs-co.yaml --latent_unpooling_time modulation",
        "anchors, unpooling scaled": "python-docs-co.yaml --latent_unpooling_time signal",
        "anchors, adaptive times": "python-docs-co.yaml --adaptive_times true",
        "anchors, times spread over decoding": "python-docs-co.yaml --latent_noise_schedule 'decoding of anchors'",
        "anchors, noise on the encoder's input": "python-docs-co.yaml --encoder_noise 0.5",
        "anchors, masks on the encoder's input": "python-docs-co.yaml --encoder_mask_ratio 0.25",
        "anchors, standardised by dimension": "python-docs-co.yaml --latent_normalization none "
        "--encoder '{standardization: true}'",
        "anchors, noise on the latents of tokens": "python-docs-co.yaml --latent_noise_time 0.3",
        "anchors, masked latents": "python-docs-co.yaml --latent_mask_share 0.3",
        "anchors, replaced latents": "python-docs-co.yaml --latent_replacement_share 0.25",
        "anchors, latents obscured": f"python-docs-co.yaml {_OBSCURED}",
        "anchors, 2 latents more for the whole text": "python-docs-co.yaml --latent_length 18 --global_latents 2",
        "y_0, latents obscured": f"python-docs-co.yaml --latent_prediction_type sample {_OBSCURED}",
        "v, standardised by dimension": "python-docs-co.yaml --latent_prediction_type v "
        "--latent_normalization none --encoder '{standardization: true}'",
        "v, a network of its own": f"python-docs-co.yaml {_SEPARATE}",
        "v, a network of its own, distilled": f"python-docs-co.yaml {_SEPARATE} --latent_flow_map true "
        """--stages '[{"name":"mdlm","steps":500},"""
        """{"name":"encoder","steps":200,"objective":{"fully_masked_share":0.6}},{"name":"prior","steps":550},"""
        """{"name":"meanflow","ramps":{"meanflow_tangent":{"steps":200}}}]'""",
    },
}
FIXED = {
    "latents": '--stages {"mdlm":null,"encoder":{"steps":null},"prior":null} --max_steps 400 '
    "--warmup_steps 100 --latent_loss_weight 0 --logging_steps 50 "
    "--budgets 2 --num_samples 2 --num_eval_sequences 256 --nelbo_samples 1",
    "samples": "--budgets 2 4 8 16 32",
    "continuous": "--hidden_size 64 --num_hidden_layers 3 --max_steps 1800 --budgets 2 4 8 16 --num_samples 200 "
    "--nelbo_proposals 0",
}
_DECODING = "decoding of "
# Of MDLM alone there are no stages.
_SHORT_STAGES = '{"mdlm":{"steps":500},"encoder":{"steps":200}}'


def measured(flag: str, keep: Path | None) -> str:
    """Returns the schedule that `decoding_schedule` measures on the kept model of a row, for a flag `decoding of ROW`.

    Raises `SystemExit` if it has not been kept.
    """
    folder = None if keep is None else keep / flag.removeprefix(_DECODING) / "co-ladd"
    if folder is None or not folder.is_dir():
        raise SystemExit(f"A row needs the model of {flag.removeprefix(_DECODING)!r}: run that one first, with --keep.")
    pipeline = LaddPipeline.from_pretrained(folder)
    length = pipeline.model.config.max_position_embeddings
    task = TextTask("python-docs", load_corpus("python-docs"), pipeline.tokenizer, length)
    return json.dumps(decoding_schedule(pipeline.model, task.eval_dataset(500, seed=0)))


def run(question: str, row: str, flags: list[str], threads: int, keep: Path | None = None) -> dict[str, Any]:
    """Runs the example in a separate process; returns its results. Raises `SystemExit` with the end of its output."""
    start, changes = time.time(), shlex.split(CHANGES[question][row])
    found = {flag: measured(flag, keep) for flag in changes if flag.startswith(_DECODING)}
    changes = [found.get(flag, flag) for flag in changes]
    recipe = changes.pop(0) if changes and changes[0].endswith(".yaml") else "python-docs-di.yaml"
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "accelerate.commands.launch", "examples/train_ladd.py"]
        output_dir = Path(folder) if keep is None else (keep / row).absolute()
        command += ["--config", str(CONFIGS / recipe), "--baseline", "false", "--output_dir", str(output_dir)]
        if question == "continuous" and recipe != CHANGES[question]["MDLM"]:
            command += ["--stages", _SHORT_STAGES]
        command += ["--cpu_threads", str(threads), *FIXED[question].split(), *changes, *flags]
        process = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
        if process.returncode:
            raise SystemExit(f"The row {row!r} ended with an error:\n{process.stderr[-2000:]}")
        results = json.loads((output_dir / "results.json").read_text())
    names = ("step", "decoded_true", "decoded_shuffled", "decoded_none", "codes_in_batch", "token_loss", "latent_loss")
    history = [entry for entry in results["log"]["ladd"] if "token_loss" in entry]
    return {
        "flags": CHANGES[question][row],
        **({"measured": found} if found else {}),
        "log": [{name: round(entry[name], 4) for name in names if name in entry} for entry in history],
        "quality": {} if question == "latents" else results["quality"],
        "bounds": {} if question == "latents" else results["bounds"],
        "reference": results["reference"],
        "seconds": round(time.time() - start),
        "facts": results["facts"],
    }


HEADS = {
    "latents": "| row | flags | true latents | another text's | none | codes in a batch |\n" + "| --- " * 6 + "|",
    "samples": "| row | flags | 2 | 4 | 8 | 16 | 32 | entropy at 4 | codes' loss | decoded |\n" + "| --- " * 10 + "|",
    "continuous": "| row | flags | 2 | 4 | 8 | 16 | entropy at 4 | latents' loss | decoded | bound |\n"
    + "| --- " * 10
    + "|",
}


def table_row(question: str, row: str, outcome: dict[str, Any]) -> str:
    """Formats a row of the Markdown table: shares of tokens recovered, or nats per character at 2, 4, ...
    evaluations."""
    last, changes = outcome["log"][-1], outcome["flags"]
    cells = [row, f"`{changes}`" if changes else ""]
    if question == "latents":
        cells += [f"{last[f'decoded_{name}']:.1%}" for name in ("true", "shuffled", "none")]
        cells.append(f"{last['codes_in_batch']:.0f}")
    else:
        _, scores = list(outcome["quality"].items())[-1]
        cells += [f"{score['nats']:.2f}" for score in scores.values()] + [f"{scores['4']['entropy']:.2f}"]
        named = "codes_in_batch" in last or question == "continuous"
        cells.append(f"{last['latent_loss']:.2f}" if named and "latent_loss" in last else "")
        cells.append(f"{last['decoded_true']:.1%}" if "decoded_true" in last else "")
        if question == "continuous":
            (bounds,) = outcome["bounds"].values()
            cells.append(f"{bounds['eval_sequential_nelbo']:.2f}" if "eval_sequential_nelbo" in bounds else "")
    return f"| {' | '.join(cells)} |".replace("|  |", "| |").replace("|  |", "| |")


def main() -> None:
    """Prints a Markdown table, row by row; writes it as JSON if requested."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("question", choices=sorted(CHANGES))
    parser.add_argument("--rows", nargs="+", help="names of rows; all if not given")
    parser.add_argument("--parallel", type=int, default=1, help="rows to run at once")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="leave each row's pipelines in folders there")
    options, flags = parser.parse_known_args()
    rows = options.rows or list(CHANGES[options.question])
    if unknown := [row for row in rows if row not in CHANGES[options.question]]:
        parser.error(f"There are no rows {unknown}; give some of {list(CHANGES[options.question])}.")
    if options.keep is None and any(_DECODING in CHANGES[options.question][row] for row in rows):
        parser.error("A row measures the kept model of another one: give --keep FOLDER, or --rows without it.")
    threads = max(1, (os.cpu_count() or 1) // options.parallel)

    def one(row: str) -> None:
        outcome = run(options.question, row, flags, threads, options.keep)
        print(table_row(options.question, row, outcome), flush=True)
        if options.json:  # after each run, so that a later failure loses nothing
            outcomes = json.loads(options.json.read_text()) if options.json.exists() else {}
            outcomes[row] = {**outcome, "flags of all rows": " ".join(flags)}
            options.json.write_text(json.dumps(outcomes, indent=1) + "\n")

    print(HEADS[options.question], flush=True)
    with ThreadPoolExecutor(options.parallel) as pool:
        for future in [pool.submit(one, row) for row in rows]:
            future.result()


if __name__ == "__main__":
    main()
