"""Trains LADD and its baseline MDLM alike, and shows what few evaluations of each are worth.

    accelerate launch examples/train_ladd.py                                            # sawtooth, Di-LADD, minutes
    accelerate launch examples/train_ladd.py --config examples/configs/python-docs-di.yaml      # text, half an hour
    accelerate launch examples/train_ladd.py --max_steps 200 --stage_1_steps 100 --seed 1 --output_dir out/quick

A recipe is a YAML file of the fields below, given with `--config` or as the first argument; flags override it, and
`--help` lists them all. Its `base` names a recipe, or a list of them, from its own folder: it starts from their
settings, later ones over earlier ones, and overrides them.
"""

from __future__ import annotations

import copy
import json
import os
import re
import sys
import time
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import datasets
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
from ladd_hf.data import LaddCollator, load_corpus, make_tokenizer, precompute_latents, text8_normalize
from ladd_hf.metrics import OneStepDecoding, quality_by_evaluations
from ladd_hf.model_card import METHODS, Conditions, SampleScores
from ladd_hf.publishing import hardware, running_command, training_recipe
from ladd_hf.tasks import Judgement, SawtoothTask, Task, TextTask

DEFAULT_RECIPE = Path(__file__).parent / "configs" / "sawtooth-di.yaml"


@dataclass
class RunArguments:
    """What is done besides training."""

    config: str = field(default=str(DEFAULT_RECIPE), metadata={"help": "Recipe: a YAML file of these fields."})
    data: str = field(
        default="sawtooth", metadata={"help": "'sawtooth', a corpus by name, such as 'python-docs', or files of texts."}
    )
    length: int = field(default=32, metadata={"help": "Tokens per sequence."})
    tokenizer: str = field(
        default="character", metadata={"help": "Texts: 'character', 'byte_level_bpe', or one of the Hub or a folder."}
    )
    tokenizer_vocab_size: int = field(default=4096, metadata={"help": "Tokens of 'byte_level_bpe'."})
    normalize: bool = field(default=False, metadata={"help": "Write texts in text8's 27 symbols."})
    packing: str = field(default="pack", metadata={"help": "Texts to sequences: 'pack', 'wrap' or 'pad'."})
    separator: str = field(
        default=" ", metadata={"help": "Between packed documents, where the tokenizer has no end-of-sequence token."}
    )
    streaming: bool = field(default=False, metadata={"help": "Read the training texts as they are needed."})
    num_proc: int | None = field(default=None, metadata={"help": "Processes that tokenize texts."})
    precompute_latents: bool = field(
        default=False, metadata={"help": "Run a fixed pretrained encoder once, and store what it says."}
    )
    judge_order: int = field(default=6, metadata={"help": "Texts: characters of the judge's longest n-gram."})
    judge_characters: int = field(
        default=20_000_000, metadata={"help": "Texts: characters that the judge learns from."}
    )
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
    mlp_ratio: int | None = None
    attention_dropout: float | None = None
    initializer_range: float | None = None
    reference_layout: bool | None = field(default=None, metadata={"help": "Networks exactly as the authors' are."})
    latent_type: str = field(default="discrete", metadata={"help": "'none', 'continuous' or 'discrete'."})
    latent_length: int | None = None
    latent_dim: int | None = None
    codebook_size: int | None = None
    latent_positions: str | None = None
    latent_pooling: str | None = None
    latent_unpooling: str | None = None
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
    encoder_name_or_path: str | None = field(
        default=None, metadata={"help": "A pretrained encoder, of the Hub or a folder."}
    )
    encoder_revision: str | None = None
    encoder_pooling: str | None = None
    encoder_projection: str | None = None
    encoder_tokenizer: str | None = None
    encoder_mask_token_id: int | None = None
    encoder_trained: bool | None = None
    latent_standardization: bool | None = None
    quantizer: str | None = field(default=None, metadata={"help": "'vector', 'finite_scalar' or 'gumbel'."})
    fsq_levels: list[int] | None = None
    codebook_decay: float | None = None
    codebook_kmeans_init: bool | None = None
    codebook_dead_code_threshold: int | None = None
    commitment_weight: float | None = None
    gumbel_temperature: float | None = None
    token_noise_schedule: str | None = None
    token_time_conditioning: bool | None = None

    def config(self, task: Task, latents: bool) -> LaddConfig:
        """The model's configuration, or with `latents=False` the baseline's: the same token stream."""
        of_latents = (
            "latent_",
            "encoder_",
            "codebook_",
            "separate_",
            "quantizer",
            "fsq_",
            "commitment_",
            "gumbel_",
            "reference_",
        )
        options = {name: value for name, value in asdict(self).items() if value is not None and name != "size"}
        if not latents:
            options = {name: value for name, value in options.items() if not name.startswith(of_latents)}
        options |= {**task.vocabulary, "max_position_embeddings": task.length}
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


def read_recipe(path: Path, readers: tuple[Path, ...] = ()) -> dict[str, Any]:
    """A recipe's settings, over those of its `base`; `readers` are the recipes that led here.

    Raises `ValueError` for a base that is missing or leads back to itself.
    """
    path = path.resolve()
    if path in readers:
        raise ValueError(f"{path} is a `base` of its own, by way of {readers[-1]}: take one of them out.")
    if not path.is_file():
        raise ValueError(f"{readers[-1]} has the `base` {path}, which is not a file; paths start at its own folder.")
    settings = yaml.safe_load(path.read_text()) or {}
    bases = settings.pop("base", [])
    merged: dict[str, Any] = {}
    for base in [bases] if isinstance(bases, str) else bases:
        merged |= read_recipe(path.parent / base, (*readers, path))
    return merged | settings


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
    try:
        settings = read_recipe(recipe)
    except ValueError as error:
        parser.error(str(error))
    known = {f.name for kind in kinds for f in fields(kind) if f.init}
    if unknown := sorted(set(settings) - known):
        parser.error(f"{recipe} has unknown fields {unknown}; --help lists the fields of a recipe.")
    settings.setdefault("output_dir", f"out/{recipe.stem}")
    parser.set_defaults(**settings)
    try:
        *arguments, unknown = parser.parse_args_into_dataclasses(argv, return_remaining_strings=True)
    except ValueError as error:  # settings that contradict each other, or the machine
        parser.error(str(error))
    if unknown:
        parser.error(f"{' '.join(unknown)} is not understood; --help lists all flags.")
    return tuple(arguments)


def normalized(row: dict[str, str]) -> dict[str, str]:
    """A document in text8's symbols."""
    return {"text": text8_normalize(row["text"])}


def watch_latents(task: Task, held_out: Any) -> list[TrainerCallback]:
    """For texts, how many of them the latents alone give away, in each log line."""
    rows = [held_out[row] for row in range(min(len(held_out), 128))]
    if task.tokenizer is None or len(rows) < 2:
        return []
    batch = LaddCollator(task.vocabulary.get("pad_token_id"))(rows)
    return [OneStepDecoding(batch["input_ids"], batch.get("attention_mask"))]


def make_task(run: RunArguments) -> Task:
    """Data and judge. Raises `ValueError`, `OSError` for what is not there, before anything is trained."""
    if run.data == "sawtooth":
        return SawtoothTask(run.length)
    splits = load_corpus(run.data, streaming=run.streaming)
    if run.normalize:
        splits = {name: split.map(normalized) for name, split in splits.items()}
    texts = (row["text"] for row in splits["train"])
    tokenizer = make_tokenizer(run.tokenizer, texts, run.tokenizer_vocab_size)
    return TextTask(
        run.data,
        splits,
        tokenizer,
        run.length,
        run.packing,
        run.separator,
        run.judge_order,
        run.judge_characters,
        run.num_proc,
    )


def train(
    label: str,
    config: LaddConfig,
    training: LaddTrainingArguments,
    task: Task,
    data: tuple[Any, Any],
    precompute: bool = False,
) -> tuple[LaddTrainer, float]:
    """Trains one model from the run's seed; returns its trainer and the seconds it took."""
    set_seed(training.seed)
    model = LaddForDiffusionLM(config)
    if precompute:
        model.set_tokenizer(task.tokenizer)
        model.to(training.device)
        with training.main_process_first(desc="encoding"):  # the others take what the first has stored
            data = precompute_latents(data[0], model), precompute_latents(data[1], model)
    if training.process_index == 0:
        print(f"\n{label}: {model.num_parameters():,} parameters, {training.max_steps:,} steps", flush=True)
    callbacks = [*(watch_latents(task, data[1]) if config.latent_type != "none" else []), ProgressLines()]
    trainer = LaddTrainer(model, training, None, *data, processing_class=task.tokenizer, callbacks=callbacks)
    trainer.remove_callback(PrinterCallback)
    start = time.time()
    trainer.train()
    return trainer, time.time() - start


def baseline_arguments(training: LaddTrainingArguments, folder: Path) -> LaddTrainingArguments:
    """The same training without what only latents have."""
    arguments = copy.deepcopy(training)
    arguments.output_dir = str(folder)
    arguments.mdlm_steps = arguments.stage_1_steps = 0
    arguments.fully_masked_share = arguments.latent_dropout = 0.0
    arguments.encoder_corruption = arguments.encoder_mask_ratio = 0.0
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


def show_table(task: Task, quality: dict[str, dict[int, Judgement]], comparisons: dict[str, dict[int, float]]) -> str:
    """The judgements as a table: a row per method and schedule, a column per number of evaluations."""
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
    """Quality against evaluations, as a PNG."""
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
    """One text of each method at few evaluations, side by side."""
    lines = []
    for budget in budgets:
        for label, texts in samples.items():
            if budget in texts:
                lines.append(f"{label}, {budget} evaluations: {texts[budget]!r}")
    return "\n".join(lines)


def main(argv: list[str]) -> None:
    """The whole job: data, training, samples, results."""
    run, model_arguments, schedulers, training = parse_arguments(argv)
    for library in (transformers_logging, diffusers_logging):
        library.set_verbosity_error()
        library.disable_progress_bar()
    datasets.disable_progress_bars()
    if training.device.type == "cpu":  # accelerate allows a process one thread unless told otherwise
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        torch.set_num_threads(run.cpu_threads or max(1, cores // training.world_size))
    start, folder = time.time(), Path(training.output_dir)
    if (folder / "results.json").exists():
        raise SystemExit(f"{folder} already holds the results of a run: give another --output_dir.")

    # 0. Everything that can be wrong, before anything is trained
    try:
        task = make_task(run)
        configs = {"ladd": model_arguments.config(task, latents=True)}
        configs["mdlm"] = model_arguments.config(task, latents=False)
        if run.precompute_latents:
            training.objective_at(0).check_precomputed()
        for scheduler in (schedulers.joint(), schedulers.sequential()):
            scheduler.for_model(configs["ladd"])
    except (ValueError, OSError, StrictDataclassError) as error:
        raise SystemExit(f"{error}") from error

    # 1. Data: the same for both models
    count = training.max_steps * training.train_batch_size * training.world_size * training.gradient_accumulation_steps
    data = task.train_dataset(count, training.seed), task.eval_dataset(run.num_eval_sequences, training.seed)

    # 2. Training
    folders = {"ladd": folder / METHODS[model_arguments.latent_type].lower(), "mdlm": folder / "mdlm"}
    trainers: dict[str, LaddTrainer] = {}
    seconds: dict[str, float] = {}
    if run.baseline and model_arguments.latent_type != "none":
        arguments = baseline_arguments(training, folder / "checkpoints" / "mdlm")
        trainers["mdlm"], seconds["mdlm"] = train("MDLM", configs["mdlm"], arguments, task, data)
    method = METHODS[configs["ladd"].latent_type]
    arguments = copy.deepcopy(training)
    arguments.output_dir = str(folder / "checkpoints" / folders["ladd"].name)
    trainers["ladd"], seconds["ladd"] = train(
        method, configs["ladd"], arguments, task, data, precompute=run.precompute_latents
    )
    bounds = {name: trainer.evaluate() for name, trainer in trainers.items()} if run.num_eval_sequences else {}
    plans: dict[str, dict[str, LaddScheduler]] = {}
    for name, trainer in trainers.items():
        plans[name] = {"MDLM": schedulers.joint()}
        if trainer.model.config.latent_type != "none":
            plans[name] = {f"{method} joint": schedulers.joint(), f"{method} sequential": schedulers.sequential()}
            if trainer.model.config.separate_latent_denoiser:  # which needs no tokens, so comes before them
                del plans[name][f"{method} joint"]
        *_, best = plans[name].values()
        trainer.save_pipeline(str(folders[name]), best)  # by all processes: each may have a part of the weights
    if training.process_index != 0:
        return

    # 3. The quality of the pipelines' samples
    quality: dict[str, dict[int, Judgement]] = {}
    samples: dict[str, dict[int, str]] = {}
    print(f"\nSampling {run.num_samples:,} sequences at each number of evaluations", flush=True)
    for name in trainers:
        for label, scheduler in plans[name].items():
            pipeline = LaddPipeline.from_pretrained(str(folders[name]), scheduler=scheduler).to(training.device)
            pipeline.set_progress_bar_config(disable=True)
            sampled = quality_by_evaluations(
                pipeline,
                run.budgets,
                lambda sequences: (task.judge(sequences), sequences[0]),
                run.num_samples,
                run.sample_batch_size,
                training.seed,
            )
            quality[label] = {n: judgement for n, (judgement, _) in sampled.items()}
            if task.tokenizer is not None:
                samples[label] = {n: task.tokenizer.decode(sequence) for n, (_, sequence) in sampled.items()}
    comparisons = {
        label: {n: task.compare(quality["MDLM"][n], score) for n, score in scores.items()}
        for label, scores in quality.items()
        if "MDLM" in quality and label != "MDLM"
    }

    # 4. Results: table, samples, JSON, plot, cards
    command = running_command(training.world_size)
    print(f"\n{task.unit.capitalize()} under the judge, {run.num_samples:,} samples\n")
    print(show_table(task, quality, comparisons))
    print(show_samples(samples))
    for name, metrics in bounds.items():
        label = METHODS[trainers[name].model.config.latent_type]
        print(describe_bound(label, training.nelbo_paths[0], metrics))
    about = f"{task.name} ({count:,} examples seen)"
    reference = task.reference()
    for name, trainer in trainers.items():
        label = METHODS[trainer.model.config.latent_type]
        conditions = Conditions(
            task.name, str(trainer.model.dtype).removeprefix("torch."), training.seed, hardware(training.device)
        )
        scores = SampleScores(
            {schedule: {n: score.nats for n, score in quality[schedule].items()} for schedule in plans[name]},
            task.unit,
            task.measure,
            conditions,
            run.num_samples,
            floor=reference.nats,
            entropies={
                schedule: {n: score.entropy for n, score in quality[schedule].items() if score.entropy is not None}
                for schedule in plans[name]
            },
            floor_entropy=reference.entropy,
        )
        title = f"{label} on {task.name}"
        card = trainer.model_card(
            title,
            f"user/{re.sub('[^a-z0-9]+', '-', title.lower())}",
            about,
            f"{task.name}, {run.num_eval_sequences:,} held-out sequences",
            command,
            scores,
        )
        card.save(folders[name] / "README.md")
    results = {
        "command": command,
        "facts": training_recipe(trainers["ladd"], about, command).facts,
        "reference": asdict(reference),
        "quality": {label: {n: asdict(score) for n, score in scores.items()} for label, scores in quality.items()},
        "comparison": comparisons,
        "compared_by": task.comparison,
        "samples": samples,
        "bounds": bounds,
        "log": {name: trainer.state.log_history for name, trainer in trainers.items()},
        "seconds": {**seconds, "everything": time.time() - start},
    }
    (folder / "results.json").write_text(json.dumps(results, indent=2) + "\n")
    plot(task, quality, folder / "results.png")
    print(f"\nTable, plot and pipelines are in {folder} ({time.time() - start:.0f} s in all). Next, try:\n")
    written = "sequences" if task.tokenizer is None else "texts"
    print(
        f'  {sys.executable} -c "from ladd_hf import LaddPipeline; '
        f"print(LaddPipeline.from_pretrained('{folders['ladd']}')(num_steps=2, batch_size=4).{written})\"\n"
    )


if __name__ == "__main__":
    main(sys.argv[1:])
