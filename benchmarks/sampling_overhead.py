"""Measures the cost of a pipeline's run beyond its denoiser evaluations.

Each round times one run of the pipeline and then the very same evaluations, replayed with the arguments they had, and
takes the ratio of the two. Rounds alternate within one process, so that drifts of the machine's speed cancel.

    python benchmarks/sampling_overhead.py --json benchmarks/results/sampling_overhead.json
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import time
from pathlib import Path
from typing import Any

import torch

from ladd_hf import LaddConfig, LaddForDiffusionLM, LaddPipeline
from ladd_hf.schedulers.rescheduled import kind_of

LATENTS: dict[str, dict[str, Any]] = {
    "none": {},
    "continuous": {"latent_type": "continuous", "latent_length": 16, "latent_dim": 32},
    "discrete": {
        "latent_type": "discrete",
        "latent_length": 16,
        "latent_dim": 4,
        "quantizer": {"name": "finite_scalar", "levels": [8, 8, 8]},
    },
}


class Recorder:
    """A denoiser that records its calls."""

    def __init__(self, model: LaddForDiffusionLM) -> None:
        self.model, self.config, self.calls = model, model.config, []

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Evaluates the model and records the arguments."""
        self.calls.append((args, kwargs))
        return self.model(*args, **kwargs)


def measure(vocab_size: int, kind: str, schedule: str, options: argparse.Namespace) -> dict[str, Any]:
    """Measures median and range of the ratio over the rounds, for one vocabulary, latent kind and schedule."""
    torch.manual_seed(0)
    config = LaddConfig(
        vocab_size=vocab_size,
        hidden_size=options.hidden_size,
        num_hidden_layers=options.layers,
        num_attention_heads=4,
        max_position_embeddings=options.length,
        **LATENTS[kind],
    )
    model = LaddForDiffusionLM(config).eval().to(options.device)
    scheduler = kind_of(schedule)()
    recorder = Recorder(model)
    pipeline = LaddPipeline(model, scheduler=scheduler)
    pipeline.set_progress_bar_config(disable=True)

    def generate() -> None:
        pipeline(num_steps=options.num_steps, batch_size=options.batch_size, generator=torch.Generator().manual_seed(0))

    pipeline.register_modules(model=recorder)
    generate()
    pipeline.register_modules(model=model)

    @torch.no_grad()
    def replay() -> None:
        for args, kwargs in recorder.calls:
            model(*args, **kwargs)

    ratios, seconds = [], []
    for _ in range(options.rounds + 1):
        whole, bare = timed(generate, options.device), timed(replay, options.device)
        ratios.append(whole / bare)
        seconds.append(whole)
    ratios, seconds = ratios[1:], seconds[1:]  # the first round warms up
    return {
        "vocabulary": vocab_size,
        "latents": kind,
        "schedule": schedule,
        "ratio": statistics.median(ratios),
        "ratio_min": min(ratios),
        "ratio_max": max(ratios),
        "tokens_per_second": options.batch_size * options.length / statistics.median(seconds),
    }


def timed(run: Any, device: str) -> float:
    """Measures seconds of wall time, including the device's queued work."""
    if device != "cpu":
        torch.cuda.synchronize()
    start = time.perf_counter()
    run()
    if device != "cpu":
        torch.cuda.synchronize()
    return time.perf_counter() - start


def main() -> None:
    """Prints the table; writes it as JSON if requested."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--vocabularies", type=int, nargs="+", default=[3, 32, 1000])
    parser.add_argument("--hidden_size", type=int, default=256)
    parser.add_argument("--layers", type=int, default=6)
    parser.add_argument("--length", type=int, default=128)
    parser.add_argument("--batch_size", type=int, default=8)
    parser.add_argument("--num_steps", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)

    print(f"{'vocabulary':>10} {'latents':>11} {'schedule':>11} {'ratio':>7} {'(min - max)':>15} {'tokens/s':>9}")
    rows = []
    for vocab_size in options.vocabularies:
        for kind, schedule in (
            ("none", "joint"),
            ("continuous", "joint"),
            ("continuous", "sequential"),
            ("discrete", "joint"),
            ("discrete", "sequential"),
        ):
            row = measure(vocab_size, kind, schedule, options)
            rows.append(row)
            spread = f"({row['ratio_min']:.3f} - {row['ratio_max']:.3f})"
            print(
                f"{vocab_size:>10} {kind:>11} {schedule:>11} {row['ratio']:7.3f} {spread:>15} "
                f"{row['tokens_per_second']:9.0f}",
                flush=True,
            )
    if options.json:
        facts = {"device": options.device, "machine": platform.machine(), "torch": torch.__version__}
        settings = {name: value for name, value in vars(options).items() if name != "json"}
        options.json.write_text(json.dumps({**facts, "settings": settings, "rows": rows}, indent=2) + "\n")


if __name__ == "__main__":
    main()
