"""Output of `train_ladd.py`: progress, tables, samples, a plot, and the scores on model cards."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from transformers import TrainerCallback

from ..diffusion.paths import PathSpec, path_name, time_path
from ..diffusion.process import NoiseProcess
from ..tasks import Judgement, Measure, Task
from ..tasks.base import described_counts, described_together
from ..training.model_card import Conditions, SampleScores, ScoresBeside, Temperatures, with_error
from ..training.run_facts import hardware
from ..training.trainer import LaddTrainer
from ..utils.time_left import TimeLeft


class ProgressLines(TrainerCallback):
    """One line per log: step, stage if there are several, loss and its parts, time left."""

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Starts the clock; says where a run goes on."""
        self.clock, self.last_step = TimeLeft(state.max_steps - state.global_step), state.global_step
        if state.is_world_process_zero and state.global_step:
            print(f"  going on from step {state.global_step:,}", flush=True)

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, Any] | None = None, **kwargs: Any) -> None:
        """Prints the line."""
        if not state.is_world_process_zero or not logs or "loss" not in logs:
            return
        left, self.last_step = self.clock.after(state.global_step - self.last_step), state.global_step
        hidden = ("epoch", "learning_rate", "grad_norm")
        parts = "  ".join(f"{name} {value:.4g}" for name, value in logs.items() if name not in hidden)
        plan = args.stage_plan
        stage = f"{plan.at(max(state.global_step - 1, 0)).name:<10}" if len(plan.stages) > 1 else ""
        print(f"  step {state.global_step:>6}/{state.max_steps}  {stage}{parts}  ({left:.0f} s left)", flush=True)


def describe_bound(
    method: str, path: PathSpec, metrics: dict[str, float], run: int = 0, process: NoiseProcess | None = None
) -> str:
    """Describes the result of an evaluation, and calls it a bound only if it is one for the noise process; with latents
    averaged out over a run of `run` evaluations, if that was computed."""
    name = path_name(path)
    tokens, latents = metrics[f"eval_{name}_token_nats"], metrics[f"eval_{name}_latent_nats"]
    parts = f"tokens {tokens:.4f} + latents {latents:.4f}"
    if method == "MDLM":
        told = f"{method}: bound on held-out sequences {tokens:.4f} nats per token"
    elif method == "Co-LADD" and not (process or NoiseProcess(latent_type="continuous")).latents_have_probabilities:
        told = f"{method}: held-out sequences, nats per token: {parts} (relative to the smallest noise: no bound)"
    elif time_path(path).vertices[0] != (1, 1):
        return f"{method}: bound on held-out sequences given their codes {tokens:.4f} nats per token"
    else:
        told = f"{method}: bound on held-out sequences {tokens + latents:.4f} nats per token ({parts})"
    if (marginal := metrics.get(f"eval_{name}_marginal_nelbo")) is None:
        return told
    error, averaged = metrics[f"eval_{name}_marginal_stderr"], "orders" if method == "MDLM" else "latents and orders"
    return f"{told}; with {averaged} averaged out, {run} evaluations: {marginal:.4f} ± {error:.4f}"


def show_table(
    task: Task,
    quality: dict[str, dict[int, Judgement]],
    comparisons: dict[str, dict[int, float]],
    num_samples: int | None = None,
) -> str:
    """Formats the judgements as a table: a row per method and schedule, a column per number of evaluations."""
    budgets = sorted({budget for scores in quality.values() for budget in scores})
    main, *others = task.measures
    rows = {label: _cells(main, scores) for label, scores in quality.items()}
    for label, shares in comparisons.items():
        rows[f"{label} {task.comparison}"] = {n: f"{share:.1%}" for n, share in shares.items()}
    for measure in others:
        direction = f" ({measure.better} is better)" if measure.better else ""
        rows |= {f"{label} {measure.name}{direction}": _cells(measure, scores) for label, scores in quality.items()}
    width = max(map(len, rows)) + 4
    column = max([9, *(len(cell) + 2 for cells in rows.values() for cell in cells.values())])
    lines = ["evaluations".ljust(width) + "".join(f"{budget:>{column}}" for budget in budgets)]
    for label, cells in rows.items():
        lines.append(label.ljust(width) + "".join(f"{cells.get(budget, '-'):>{column}}" for budget in budgets))
    reference = task.reference(num_samples)
    found = {measure.name: _shown(measure, reference) for measure in task.measures}
    if task.exact:
        lines.append(f"entropy of the data: {found[main.name]} (what the data itself scores; lower is more typical)")
    else:
        beside = "".join(f", {measure.name} {found[measure.name]}" for measure in others)
        lines.append(f"held-out texts: {found[main.name]}{beside}")
    if counts := described_counts(task.reference_counts(num_samples), num_samples or 0):
        lines.append(counts.strip())
    return "\n".join(lines)


def _cells(measure: Measure, scores: dict[int, Judgement]) -> dict[int, str]:
    """Formats the scores at each number of evaluations."""
    return {n: _shown(measure, score) for n, score in scores.items()}


def _shown(measure: Measure, score: Judgement) -> str:
    """Formats a score, with its standard error if that is known."""
    return with_error(score[measure.name], score.get(measure.error_name), measure.digits)


def plot(task: Task, quality: dict[str, dict[int, Judgement]], path: Path, num_samples: int | None = None) -> None:
    """Plots quality against evaluations, as a PNG."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    main = task.measures[0]
    figure, axes = pyplot.subplots(figsize=(6, 4))
    for label, scores in quality.items():
        heights = [score[main.name] for score in scores.values()]
        errors = [score.get(main.error_name, 0.0) for score in scores.values()]
        axes.errorbar(list(scores), heights, errors, marker="o", capsize=2, label=label)
    axes.axhline(task.reference(num_samples)[main.name], color="black", linestyle=":", label="the data itself")
    axes.set_xscale("log", base=2)
    axes.set_xlabel("denoiser evaluations")
    axes.set_ylabel(f"{main.metric} under the judge")
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
    """Prints the table and sample texts."""
    print(f"\n{task.measures[0].metric.capitalize()} under the judge, {num_samples:,} samples\n")
    print(show_table(task, quality, comparisons, num_samples))
    if samples:
        print(show_samples(samples))


def sample_scores(
    task: Task,
    quality: dict[str, dict[int, Judgement]],
    trainer: LaddTrainer,
    num_samples: int,
    temperatures: dict[str, Temperatures] | None = None,
) -> SampleScores:
    """Returns the judgements of one model's samples, for its card; `temperatures` are those of its schedules."""
    reference, (main, *others) = task.reference(num_samples), task.measures
    counts = described_counts(task.reference_counts(num_samples), num_samples)
    dtype = str(trainer._ladd_model().dtype).removeprefix("torch.")

    def table(name: str) -> dict[str, dict[int, float]]:
        return {
            schedule: {n: score[name] for n, score in scores.items() if name in score}
            for schedule, scores in quality.items()
        }

    return SampleScores(
        table(main.name),
        main.metric,
        described_together(task.measures) + counts,
        Conditions(task.name, dtype, trainer.args.seed, hardware(trainer.args.device)),
        num_samples,
        temperatures or {},
        floor=reference[main.name],
        beside=[
            ScoresBeside(
                one.name,
                one.metric,
                table(one.name),
                reference[one.name],
                one.better,
                table(one.error_name),
                reference.get(one.error_name),
            )
            for one in others
        ],
        exact=task.exact,
        step=trainer.trained_steps,
        errors=table(main.error_name),
        floor_error=reference.get(main.error_name),
    )
