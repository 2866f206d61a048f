"""Trains LADD and its baseline MDLM alike, and shows what few evaluations of each are worth.

    accelerate launch examples/train_ladd.py                                        # sawtooth, Di-LADD, minutes
    accelerate launch examples/train_ladd.py --config examples/configs/sawtooth-co.yaml
    accelerate launch examples/train_ladd.py --max_steps 200 --stage_1_steps 100 --seed 1 --output_dir out/quick

A recipe is a YAML file of the fields below, given with `--config` or as the first argument; flags override it, and
`--help` lists them all.
"""

from __future__ import annotations

import copy
import json
import os
import sys
import time
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import torch
import yaml
from diffusers.utils import logging as diffusers_logging
from huggingface_hub.errors import StrictDataclassError
from transformers import HfArgumentParser, PrinterCallback, TrainerCallback, set_seed
from transformers.utils import logging as transformers_logging

from ladd_hf import (
    LaddConfig,
    LaddForDiffusionLM,
    LaddJointScheduler,
    LaddPipeline,
    LaddScheduler,
    LaddSequentialScheduler,
    LaddTrainer,
    LaddTrainingArguments,
)
from ladd_hf.configuration_ladd import MODEL_SIZES
from ladd_hf.data import SawtoothDistribution, sawtooth_dataset
from ladd_hf.metrics import gap_closed, quality_by_evaluations
from ladd_hf.model_card import METHODS, Conditions, SampleScores
from ladd_hf.publishing import hardware, running_command, training_recipe

DEFAULT_RECIPE = Path(__file__).parent / "configs" / "sawtooth-di.yaml"


@dataclass
class RunArguments:
    """What is done besides training."""

    config: str = field(default=str(DEFAULT_RECIPE), metadata={"help": "Recipe: a YAML file of these fields."})
    length: int = field(default=32, metadata={"help": "Tokens per sequence."})
    baseline: bool = field(default=True, metadata={"help": "Train MDLM with the same tokens, optimiser and steps."})
    budgets: list[int] = field(
        default_factory=lambda: [1, 2, 4, 8, 16, 32, 128], metadata={"help": "Numbers of evaluations to sample with."}
    )
    num_samples: int = field(default=2000, metadata={"help": "Samples for each number of evaluations."})
    sample_batch_size: int = field(default=500, metadata={"help": "Samples drawn at once."})
    cpu_threads: int = field(
        default=0, metadata={"help": "Threads of a CPU run; 0: the cores, shared by the processes."}
    )
    num_eval_sequences: int = field(default=500, metadata={"help": "Held-out sequences for the bound; 0: none."})


@dataclass
class ModelArguments:
    """The model: a size or sizes, and its latents. `None` leaves the choice to `LaddConfig`."""

    size: str | None = field(default=None, metadata={"help": f"One of {', '.join(MODEL_SIZES)}."})
    hidden_size: int | None = None
    num_hidden_layers: int | None = None
    num_attention_heads: int | None = None
    cond_hidden_size: int | None = None
    initializer_range: float | None = None
    latent_type: str = field(default="discrete", metadata={"help": "'none', 'continuous' or 'discrete'."})
    latent_length: int | None = None
    latent_dim: int | None = None
    codebook_size: int | None = None
    latent_positions: str | None = None
    latent_time_conditioning: bool | None = None
    latent_noise_schedule: str | None = None
    latent_prediction_type: str | None = None
    latent_normalization: str | None = None
    latent_head_layers: int | None = None
    latent_head_hidden_size: int | None = None
    separate_latent_denoiser: bool | None = None
    latent_denoiser_num_layers: int | None = None
    encoder_readout: str | None = None
    encoder_num_hidden_layers: int | None = None
    encoder_hidden_size: int | None = None
    encoder_num_attention_heads: int | None = None
    encoder_variance: str | None = None
    encoder_std: float | None = None
    quantizer: str | None = field(default=None, metadata={"help": "'vector', 'finite_scalar' or 'gumbel'."})
    fsq_levels: list[int] | None = None
    codebook_decay: float | None = None
    codebook_kmeans_init: bool | None = None
    codebook_dead_code_threshold: int | None = None
    commitment_weight: float | None = None
    gumbel_temperature: float | None = None
    token_noise_schedule: str | None = None
    token_time_conditioning: bool | None = None

    def config(self, vocab_size: int, length: int, latents: bool) -> LaddConfig:
        """The model's configuration, or with `latents=False` the baseline's: the same token stream."""
        of_latents = ("latent_", "encoder_", "codebook_", "separate_", "quantizer", "fsq_", "commitment_", "gumbel_")
        options = {name: value for name, value in asdict(self).items() if value is not None and name != "size"}
        if not latents:
            options = {name: value for name, value in options.items() if not name.startswith(of_latents)}
        options |= {"vocab_size": vocab_size, "max_position_embeddings": length}
        return LaddConfig.from_size(self.size, **options) if self.size else LaddConfig(**options)


@dataclass
class SchedulerArguments:
    """The inference schedules that are compared and saved."""

    spacing: str = field(default="uniform", metadata={"help": "Grid of times: 'uniform' or 'cosine'."})
    latent_solver: str = field(default="ddim", metadata={"help": "'ddim' or 'ddpm', for continuous latents."})
    unmasking: str = field(default="ancestral", metadata={"help": "Order of tokens: see docs/generation.md."})
    remasking: str = field(default="none", metadata={"help": "'none', 'cap' or 'rescale': masks tokens again (ReMDM)."})
    remasking_rate: float = field(default=0.0, metadata={"help": "Its rate."})
    latent_share: float = field(default=0.5, metadata={"help": "Sequential: share of the steps for the latents."})
    max_latent_steps: int | None = field(default=None, metadata={"help": "Sequential: at most so many of them."})

    def joint(self) -> LaddScheduler:
        """The diagonal."""
        of_sequential = ("latent_share", "max_latent_steps")
        return LaddJointScheduler(**{k: v for k, v in asdict(self).items() if k not in of_sequential})

    def sequential(self) -> LaddScheduler:
        """Latents first."""
        return LaddSequentialScheduler(**asdict(self))


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


def parse_arguments(
    argv: list[str],
) -> tuple[RunArguments, ModelArguments, SchedulerArguments, LaddTrainingArguments]:
    """Recipe first, flags over it. Exits with a message for a recipe that is missing or has unknown fields."""
    kinds = (RunArguments, ModelArguments, SchedulerArguments, LaddTrainingArguments)
    parser = HfArgumentParser(kinds, description=__doc__.split("\n")[0])
    parser.set_defaults(output_dir=None)
    if argv and argv[0].endswith((".yaml", ".yml")):
        argv = ["--config", *argv]
    config_parser = HfArgumentParser(RunArguments, add_help=False, conflict_handler="resolve")
    recipe = Path(config_parser.parse_known_args(argv)[0].config)
    if not recipe.is_file():
        parser.error(f"--config {recipe} is not a file; give a recipe such as {DEFAULT_RECIPE}.")
    settings = yaml.safe_load(recipe.read_text()) or {}
    known = {f.name for kind in kinds for f in fields(kind) if f.init}
    if unknown := sorted(set(settings) - known):
        parser.error(f"{recipe} has unknown fields {unknown}; --help lists the fields of a recipe.")
    settings.setdefault("output_dir", f"out/{recipe.stem}")
    parser.set_defaults(**settings)
    *arguments, unknown = parser.parse_args_into_dataclasses(argv, return_remaining_strings=True)
    if unknown:
        parser.error(f"{' '.join(unknown)} is not understood; --help lists all flags.")
    return tuple(arguments)


def train(
    label: str, config: LaddConfig, training: LaddTrainingArguments, run: RunArguments, data: tuple[Any, Any]
) -> tuple[LaddTrainer, float]:
    """Trains one model from the run's seed; returns its trainer and the seconds it took."""
    set_seed(training.seed)
    model = LaddForDiffusionLM(config)
    if training.process_index == 0:
        print(f"\n{label}: {model.num_parameters():,} parameters, {training.max_steps:,} steps", flush=True)
    trainer = LaddTrainer(model, training, train_dataset=data[0], eval_dataset=data[1], callbacks=[ProgressLines()])
    trainer.remove_callback(PrinterCallback)
    start = time.time()
    trainer.train()
    return trainer, time.time() - start


def baseline_arguments(training: LaddTrainingArguments, folder: Path) -> LaddTrainingArguments:
    """The same training without what only latents have."""
    arguments = copy.deepcopy(training)
    arguments.output_dir = str(folder)
    arguments.stage_1_steps = 0
    arguments.fully_masked_share = arguments.latent_dropout = arguments.encoder_corruption = 0.0
    arguments.quantizer_dropout = arguments.contrastive_weight = arguments.latent_kl_weight = 0.0
    arguments.conditional_independence_weight = 0.0
    arguments.latent_target_gradient = False
    arguments.time_distribution = "independent"
    return arguments


def describe_bound(method: str, path: str, metrics: dict[str, float]) -> str:
    """What evaluation found, in words that claim no more than it is."""
    tokens, latents = metrics[f"eval_{path}_token_nats"], metrics[f"eval_{path}_latent_nats"]
    parts = f"tokens {tokens:.4f} + latents {latents:.4f}"
    if method == "MDLM":
        return f"{method}: bound on held-out sequences {tokens:.4f} nats per token"
    if method == "Co-LADD":
        return f"{method}: held-out sequences, nats per token: {parts} (relative to the smallest noise: no bound)"
    return f"{method}: bound on held-out sequences {tokens + latents:.4f} nats per token ({parts})"


def show_table(quality: dict[str, dict[int, float]], gaps: dict[str, dict[int, float]], floor: float) -> str:
    """The scores as a table: a row per method and schedule, a column per number of evaluations."""
    budgets = sorted({budget for scores in quality.values() for budget in scores})
    width = max(len(label) for label in (*quality, *gaps)) + 12
    lines = ["evaluations".ljust(width) + "".join(f"{budget:>9}" for budget in budgets)]
    for label, scores in quality.items():
        cells = (f"{scores[budget]:9.4f}" if budget in scores else " " * 8 + "-" for budget in budgets)
        lines.append(label.ljust(width) + "".join(cells))
    for label, shares in gaps.items():
        cells = (f"{shares[budget]:9.1%}" if budget in shares else " " * 8 + "-" for budget in budgets)
        lines.append(f"{label} closes".ljust(width) + "".join(cells))
    lines.append(f"entropy of the data: {floor:.4f} (what the data itself scores; lower is more typical than it)")
    return "\n".join(lines)


def plot(quality: dict[str, dict[int, float]], floor: float, path: Path) -> None:
    """Quality against evaluations, as a PNG."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(6, 4))
    for label, scores in quality.items():
        axes.plot(list(scores), list(scores.values()), marker="o", label=label)
    axes.axhline(floor, color="black", linestyle=":", label="entropy of the data")
    axes.set_xscale("log", base=2)
    axes.set_xlabel("denoiser evaluations")
    axes.set_ylabel("nats per token under the exact likelihood")
    axes.legend()
    figure.tight_layout()
    figure.savefig(path, dpi=150)
    pyplot.close(figure)


def main(argv: list[str]) -> None:
    """The whole job: data, training, samples, results."""
    run, model_arguments, schedulers, training = parse_arguments(argv)
    for library in (transformers_logging, diffusers_logging):
        library.set_verbosity_error()
        library.disable_progress_bar()
    if training.device.type == "cpu":  # accelerate allows a process one thread unless told otherwise
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        torch.set_num_threads(run.cpu_threads or max(1, cores // training.world_size))
    start, folder = time.time(), Path(training.output_dir)
    if (folder / "results.json").exists():
        raise SystemExit(f"{folder} already holds the results of a run: give another --output_dir.")

    # 0. Everything that can be wrong, before anything is trained
    vocab_size = SawtoothDistribution.vocab_size
    try:
        configs = {"ladd": model_arguments.config(vocab_size, run.length, latents=True)}
        configs["mdlm"] = model_arguments.config(vocab_size, run.length, latents=False)
        for scheduler in (schedulers.joint(), schedulers.sequential()):
            scheduler.for_model(configs["ladd"])
    except (ValueError, StrictDataclassError) as error:
        raise SystemExit(f"{error}") from error

    # 1. Data: fresh sequences, each seen once, the same for both models
    data = SawtoothDistribution(run.length)
    count = training.max_steps * training.train_batch_size * training.world_size * training.gradient_accumulation_steps
    train_set = sawtooth_dataset(count, run.length, seed=training.seed)
    eval_set = sawtooth_dataset(run.num_eval_sequences, run.length, seed=training.seed + 2**20)
    entropy = data.entropy().nats / run.length

    # 2. Training
    folders = {"ladd": folder / METHODS[model_arguments.latent_type].lower(), "mdlm": folder / "mdlm"}
    trainers: dict[str, LaddTrainer] = {}
    seconds: dict[str, float] = {}
    if run.baseline and model_arguments.latent_type != "none":
        arguments = baseline_arguments(training, folder / "checkpoints" / "mdlm")
        trainers["mdlm"], seconds["mdlm"] = train("MDLM", configs["mdlm"], arguments, run, (train_set, eval_set))
    method = METHODS[configs["ladd"].latent_type]
    arguments = copy.deepcopy(training)
    arguments.output_dir = str(folder / "checkpoints" / folders["ladd"].name)
    trainers["ladd"], seconds["ladd"] = train(method, configs["ladd"], arguments, run, (train_set, eval_set))
    bounds = {name: trainer.evaluate() for name, trainer in trainers.items()} if run.num_eval_sequences else {}
    plans: dict[str, dict[str, LaddScheduler]] = {}
    for name, trainer in trainers.items():
        plans[name] = {"MDLM": schedulers.joint()}
        if trainer.model.config.latent_type != "none":
            plans[name] = {f"{method} joint": schedulers.joint(), f"{method} sequential": schedulers.sequential()}
        *_, best = plans[name].values()
        trainer.save_pipeline(str(folders[name]), best)  # by all processes: each may have a part of the weights
    if training.process_index != 0:
        return

    # 3. The quality of the pipelines' samples
    quality: dict[str, dict[int, float]] = {}
    saved: dict[str, dict[str, dict[int, float]]] = {}
    print(f"\nSampling {run.num_samples:,} sequences at each number of evaluations", flush=True)
    for name in trainers:
        for label, scheduler in plans[name].items():
            pipeline = LaddPipeline.from_pretrained(str(folders[name]), scheduler=scheduler).to(training.device)
            pipeline.set_progress_bar_config(disable=True)
            quality[label] = quality_by_evaluations(
                pipeline,
                run.budgets,
                lambda samples: -float(data.log_likelihood(samples.numpy()).mean()) / run.length,
                run.num_samples,
                run.sample_batch_size,
                training.seed,
            )
        saved[name] = {label: quality[label] for label in plans[name]}
    gaps = {
        label: {n: gap_closed(quality["MDLM"][n], score, entropy) for n, score in scores.items()}
        for label, scores in quality.items()
        if "MDLM" in quality and label != "MDLM"
    }

    # 4. Results: table, JSON, plot, cards
    command = running_command(training.world_size)
    print(f"\nNats per token under the exact likelihood, {run.num_samples:,} samples\n")
    print(show_table(quality, gaps, entropy))
    for name, metrics in bounds.items():
        label = METHODS[trainers[name].model.config.latent_type]
        print(describe_bound(label, training.nelbo_paths[0], metrics))
    about = f"the binary sawtooth of length {run.length} ({count:,} fresh sequences)"
    for name, trainer in trainers.items():
        label = METHODS[trainer.model.config.latent_type]
        samples = SampleScores(
            saved[name],
            "nats per token",
            "Negative log-likelihood in nats per token under the exact law of the data.",
            Conditions(
                f"binary sawtooth, length {run.length}",
                str(trainer.model.dtype).removeprefix("torch."),
                training.seed,
                hardware(training.device),
            ),
            run.num_samples,
            floor=entropy,
        )
        title = f"{label} on the sawtooth of length {run.length}"
        card = trainer.model_card(
            title,
            f"user/{title.lower().replace(' ', '-')}",
            about,
            f"binary sawtooth, length {run.length}, {run.num_eval_sequences:,} held-out sequences",
            command,
            samples,
        )
        card.save(folders[name] / "README.md")
    results = {
        "command": command,
        "facts": training_recipe(trainers["ladd"], about, command).facts,
        "entropy": entropy,
        "quality": quality,
        "gap_closed": gaps,
        "bounds": bounds,
        "seconds": {**seconds, "everything": time.time() - start},
    }
    (folder / "results.json").write_text(json.dumps(results, indent=2) + "\n")
    plot(quality, entropy, folder / "results.png")
    print(f"\nTable, plot and pipelines are in {folder} ({time.time() - start:.0f} s in all). Next, try:\n")
    print(
        f'  {sys.executable} -c "from ladd_hf import LaddPipeline; '
        f"print(LaddPipeline.from_pretrained('{folders['ladd']}')(num_steps=2, batch_size=4).sequences)\"\n"
    )


if __name__ == "__main__":
    main(sys.argv[1:])
