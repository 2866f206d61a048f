"""Output of `train_ladd.py`: progress, tables, samples, a plot, and the scores on model cards."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from transformers import TrainerCallback

from ladd_hf import LaddTrainer
from ladd_hf.tasks import Judgement, Task
from ladd_hf.training.model_card import Conditions, SampleScores
from ladd_hf.training.run_facts import hardware


class ProgressLines(TrainerCallback):
    """One line per log: step, loss and its parts, time left."""

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Starts the clock."""
        self.start, self.first_step = time.time(), state.global_step

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, Any] | None = None, **kwargs: Any) -> None:
        """Prints the line."""
        if not state.is_world_process_zero or not logs or "loss" not in logs:
            return
        done = max(state.global_step - self.first_step, 1)
        left = (time.time() - self.start) / done * (state.max_steps - state.global_step)
        hidden = ("epoch", "learning_rate", "grad_norm")
        parts = "  ".join(f"{name} {value:.4g}" for name, value in logs.items() if name not in hidden)
        print(f"  step {state.global_step:>6}/{state.max_steps}  {parts}  ({left:.0f} s left)", flush=True)


def describe_bound(method: str, path: str, metrics: dict[str, float]) -> str:
    """Describes the result of an evaluation, and calls it a bound only if it is one."""
    tokens, latents = metrics[f"eval_{path}_token_nats"], metrics[f"eval_{path}_latent_nats"]
    parts = f"tokens {tokens:.4f} + latents {latents:.4f}"
    if method == "MDLM":
        return f"{method}: bound on held-out sequences {tokens:.4f} nats per token"
    if method == "Co-LADD":
        return f"{method}: held-out sequences, nats per token: {parts} (relative to the smallest noise: no bound)"
    return f"{method}: bound on held-out sequences {tokens + latents:.4f} nats per token ({parts})"


def show_table(task: Task, quality: dict[str, dict[int, Judgement]], comparisons: dict[str, dict[int, float]]) -> str:
    """Formats the judgements as a table: a row per method and schedule, a column per number of evaluations."""
    budgets = sorted({budget for scores in quality.values() for budget in scores})
    rows = {label: {n: f"{score.nats:.4f}" for n, score in scores.items()} for label, scores in quality.items()}
    for label, shares in comparisons.items():
        rows[f"{label} {task.comparison}"] = {n: f"{share:.1%}" for n, share in shares.items()}
    reference = task.reference()
    if reference.entropy is not None:
        for label, scores in quality.items():
            rows[f"{label} entropy"] = {n: f"{score.entropy:.3f}" for n, score in scores.items()}
    width = max(map(len, rows)) + 4
    lines = ["evaluations".ljust(width) + "".join(f"{budget:>9}" for budget in budgets)]
    for label, cells in rows.items():
        lines.append(label.ljust(width) + "".join(f"{cells.get(budget, '-'):>9}" for budget in budgets))
    if reference.entropy is None:
        lines.append(f"entropy of the data: {reference.nats:.4f} (what the data itself scores; lower is more typical)")
    else:
        lines.append(f"held-out texts: {reference.nats:.4f}, entropy {reference.entropy:.3f}")
    return "\n".join(lines)


def plot(task: Task, quality: dict[str, dict[int, Judgement]], path: Path) -> None:
    """Plots quality against evaluations, as a PNG."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(6, 4))
    for label, scores in quality.items():
        axes.plot(list(scores), [score.nats for score in scores.values()], marker="o", label=label)
    axes.axhline(task.reference().nats, color="black", linestyle=":", label="the data itself")
    axes.set_xscale("log", base=2)
    axes.set_xlabel("denoiser evaluations")
    axes.set_ylabel(f"{task.unit} under the judge")
    axes.legend()
    figure.tight_layout()
    figure.savefig(path, dpi=150)
    pyplot.close(figure)


def show_samples(samples: dict[str, dict[int, str]], budgets: tuple[int, ...] = (2, 8)) -> str:
    """Formats one text of each method at few evaluations, side by side."""
    lines = []
    for budget in budgets:
        for label, texts in samples.items():
            if budget in texts:
                lines.append(f"{label}, {budget} evaluations: {texts[budget]!r}")
    return "\n".join(lines)


def print_results(
    task: Task,
    quality: dict[str, dict[int, Judgement]],
    comparisons: dict[str, dict[int, float]],
    samples: dict[str, dict[int, str]],
    num_samples: int,
) -> None:
    """Prints the table, and samples to read."""
    print(f"\n{task.unit.capitalize()} under the judge, {num_samples:,} samples\n")
    print(show_table(task, quality, comparisons))
    if samples:
        print(show_samples(samples))


def sample_scores(
    task: Task, quality: dict[str, dict[int, Judgement]], trainer: LaddTrainer, num_samples: int
) -> SampleScores:
    """Returns the judgements of one model's samples, for its card."""
    reference = task.reference()
    dtype = str(trainer.model.dtype).removeprefix("torch.")
    return SampleScores(
        {schedule: {n: score.nats for n, score in scores.items()} for schedule, scores in quality.items()},
        task.unit,
        task.measure,
        Conditions(task.name, dtype, trainer.args.seed, hardware(trainer.args.device)),
        num_samples,
        floor=reference.nats,
        entropies={
            schedule: {n: score.entropy for n, score in scores.items() if score.entropy is not None}
            for schedule, scores in quality.items()
        },
        floor_entropy=reference.entropy,
        step=trainer.trained_steps,
    )
