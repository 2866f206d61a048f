"""Draws the pictures of trained runs and of their evaluations, and a page that shows them.

    python examples/make_gallery.py out/sawtooth-di --data sawtooth --evaluations out/evaluation
    python examples/make_gallery.py out/sawtooth-di out/python-docs-di --data sawtooth python-docs \
        --evaluations benchmarks/results/sawtooth_quality.json --pictures docs/pictures --page docs/gallery.md

A run is an output folder of `train_ladd.py`, an evaluation the folder `--results` of `evaluate_ladd.py`, or a file of
its `--json` or of `benchmarks/quality_tables.py`, whose scores are means over several trainings. Of each run there are:
the terms of the loss, the losses over the time square with paths and tuned schedules, the usage of codes, the latents
in a plane, and a sample's way from masks to text, of LADD and of its baseline.
"""

from __future__ import annotations

import json
import re
import shlex
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import datasets
import torch
from diffusers.utils import logging as diffusers_logging
from gallery_evaluations import DPI, comparison_of, of_evaluation, slug
from gallery_page import Picture, Section, gallery_page, public
from transformers.utils import logging as transformers_logging

from ladd_hf import LaddPipeline, LaddTunedScheduler, tune_schedule
from ladd_hf.cli.command_line import (
    CommandLine,
    check_flags,
    check_output_file,
    check_output_folder,
    loading,
    named,
    refuse,
    refusing,
)
from ladd_hf.data import LaddCollator
from ladd_hf.diffusion.loss_table import LossTable
from ladd_hf.diffusion.paths import JOINT, SEQUENTIAL
from ladd_hf.diffusion.process import NoiseProcess
from ladd_hf.evaluation import task_for
from ladd_hf.metrics.clean_batches import encoded_batches
from ladd_hf.pictures import (
    code_usage_figure,
    gif,
    latents_figure,
    loss_figure,
    record,
    time_square_figure,
)
from ladd_hf.utils.number_ranges import COUNT, SEED

RANGES = {**dict.fromkeys(("num_texts", "num_tuning_texts", "num_steps"), COUNT), "seed": SEED}
MODELS = ("di-ladd", "co-ladd", "mdlm")  # folders of a run
TUNED = (2, 4, 8)  # numbers of steps of the runs on the time square


@dataclass
class GalleryArguments:
    """Settings of a gallery."""

    runs: list[str] = field(metadata={"help": "Output folders of train_ladd.py; may be given as the first arguments."})
    data: list[str] = field(metadata={"help": "The corpus of each run, or one of all: 'sawtooth', a name, files."})
    evaluations: list[str] = field(
        default_factory=list,
        metadata={
            "help": "Folders of results of evaluate_ladd.py, whose baseline is the MDLM, or files of its --json or of "
            "quality_tables.py."
        },
    )
    pictures: str = field(default="out/gallery", metadata={"help": "Folder for the pictures."})
    page: str = field(default="out/gallery.md", metadata={"help": "Markdown file that shows them."})
    num_texts: int = field(default=1000, metadata={"help": "Held-out texts whose latents are drawn."})
    num_tuning_texts: int = field(default=64, metadata={"help": "Held-out texts by which losses are measured."})
    num_steps: int = field(default=12, metadata={"help": "Steps of the samples."})
    seed: int = 0


def parse_arguments(argv: list[str]) -> GalleryArguments:
    """Parses the command line. Exits with a message for invalid settings, before anything is loaded."""
    parser = CommandLine(GalleryArguments, description=__doc__.split("\n")[0])
    (arguments,) = parser.parse(named(argv, "--runs"))
    check_flags(arguments, RANGES)
    if len(arguments.data) not in (1, len(arguments.runs)):
        refuse(
            f"--data names {len(arguments.data)} corpora for {len(arguments.runs)} runs; name one, or one for each run."
        )
    for run in arguments.runs:
        if not (Path(run) / "results.json").is_file():
            refuse(f"{run} has no results.json; give an output folder of train_ladd.py.")
    for given in arguments.evaluations:
        with refusing():
            comparison = comparison_of(Path(given))
        if not comparison.curves(temperature=comparison.temperatures[0]):
            refuse(f"--evaluations {given} has no scores of samples; give one with them.")
    check_output_folder("--pictures", arguments.pictures)
    Path(arguments.page).parent.mkdir(parents=True, exist_ok=True)
    check_output_file("--page", arguments.page)
    return arguments


def of_run(folder: Path, results: dict[str, Any], data: str, arguments: GalleryArguments) -> Iterator[Picture]:
    """Draws the pictures of a run with these results, and yields each with its sentence."""
    target, name = Path(arguments.pictures), slug(folder.resolve().name)
    stages = stages_of(results["facts"])
    if "ladd" in results["log"]:
        loss_figure(results["log"]["ladd"], stages).savefig(target / f"{name}-loss.png", dpi=DPI)
        told = f", in the stages {', '.join(stage for stage, _ in stages)}" if len(stages) > 1 else ""
        yield f"{name}-loss.png", f"Every term of the loss over the training of {name}{told}."
    for part in MODELS:
        if (folder / part).is_dir():
            yield from of_model(folder / part, f"{name}-{part}", f"{part} of {name}", data, arguments)


def of_model(folder: Path, name: str, label: str, data: str, arguments: GalleryArguments) -> Iterator[Picture]:
    """Draws a model's losses, latents and sample."""
    target = Path(arguments.pictures)
    with loading(str(folder)):
        pipeline = LaddPipeline.from_pretrained(str(folder))
    pipeline.set_progress_bar_config(disable=True)
    model = pipeline.model
    task = task_for(pipeline, data)
    rows = [dict(row) for row in task.eval_dataset(arguments.num_texts + arguments.num_tuning_texts, arguments.seed)]
    tuning, texts = rows[: arguments.num_tuning_texts], rows[arguments.num_tuning_texts :]

    scheduler = pipeline.scheduler
    if not isinstance(scheduler, LaddTunedScheduler):
        scheduler = tune_schedule(model, tuning, TUNED, num_texts=len(tuning), seed=arguments.seed)
    table: LossTable = scheduler.table
    runs = {f"tuned, N = {number}": scheduler.run(number) for number in TUNED}
    paths = {"joint": JOINT.vertices, "sequential": SEQUENTIAL.vertices} if table.has_latents else {}
    time_square_figure(table, paths, runs).savefig(target / f"{name}-losses.png", dpi=DPI)
    square = "over the time square, with paths on it" if table.has_latents else "over the time of its tokens"
    yield f"{name}-losses.png", f"Losses of {label} {square}, and the tuned runs of 2, 4 and 8 steps."

    if model.config.latent_type != "none":
        yield from of_latents(pipeline, texts, name, label, target)

    generator = torch.Generator().manual_seed(arguments.seed)
    _, trajectory = record(pipeline, num_steps=arguments.num_steps, batch_size=1, generator=generator)
    gif(trajectory, target / f"{name}-sample.gif", pipeline.tokenizer)
    above = {"none": "", "discrete": ", its codes above", "continuous": ", a bar of its latents' time above"}
    latents = above[model.config.latent_type]
    yield f"{name}-sample.gif", f"A sample of {label} in {arguments.num_steps} steps{latents}, what is new framed."


def of_latents(
    pipeline: LaddPipeline, texts: list[dict[str, Any]], name: str, label: str, target: Path
) -> Iterator[Picture]:
    """Draws the usage of codes or anchors, and these or vectors in a plane, with the first symbol of their texts."""
    model, collate = pipeline.model.eval(), LaddCollator(pipeline.model.config.pad_token_id)
    batches = [collate(texts[start : start + 100]) for start in range(0, len(texts), 100)]
    encoded = list(encoded_batches(model, batches))
    clean = torch.cat([one.clean for one in encoded])
    ids = [int(row["input_ids"][0]) for row in texts]
    first = [str(one) if pipeline.tokenizer is None else repr(pipeline.tokenizer.decode([one])) for one in ids]
    kind = "code"
    if not NoiseProcess.of(model.config).latents_have_probabilities:
        latents_figure(clean[:, 0], first, "first symbol").savefig(target / f"{name}-latents.png", dpi=DPI)
        told = f"First latents of {len(texts):,} held-out texts of {label}, by their first symbol."
        yield f"{name}-latents.png", told
        return
    if model.config.latent_type == "continuous":
        kind, vectors = "anchor", model.latent_anchors.points
        clean = torch.cdist(clean.double(), vectors.double()).argmin(-1)
    else:
        with torch.no_grad():
            vectors = model.quantizer.codes_to_vectors(torch.arange(model.config.codebook_size)[None])[0]
    size = len(vectors)
    code_usage_figure(clean, size).savefig(target / f"{name}-codes.png", dpi=DPI)
    yield f"{name}-codes.png", f"Frequencies of the {kind}s of {label} on {len(texts):,} held-out texts."
    codes = clean[:, 0]
    uses = torch.bincount(codes, minlength=size)
    properties = [most_frequent([first[text] for text in (codes == code).nonzero()[:, 0]]) for code in range(size)]
    figure = latents_figure(vectors, properties, "most frequent first symbol", uses)
    figure.savefig(target / f"{name}-latents.png", dpi=DPI)
    yield (
        f"{name}-latents.png",
        f"The {kind}s of {label}, each as large as its use at the first position, coloured by the first symbol that "
        "its texts have most often.",
    )


def most_frequent(texts: list[str]) -> str:
    """Returns the most frequent text, of several the first in the alphabet; nothing of none."""
    return max(sorted(set(texts)), key=texts.count, default="")


def stages_of(facts: dict[str, str]) -> list[tuple[str, int]]:
    """Returns names and numbers of steps of a run's stages, from the facts of its card."""
    found = re.findall(r"([\d,]+) in the stage '([^']*)'", facts.get("steps", ""))
    return [(name, int(steps.replace(",", ""))) for steps, name in found]


def command_line(arguments: GalleryArguments) -> str:
    """Returns the command that draws the page."""
    parts = ["python", "examples/make_gallery.py", *map(public, arguments.runs), "--data", *arguments.data]
    if arguments.evaluations:
        parts += ["--evaluations", *map(public, arguments.evaluations)]
    default = GalleryArguments(arguments.runs, arguments.data)
    for name in RANGES:
        if (value := getattr(arguments, name)) != getattr(default, name):
            parts += [f"--{name}", str(value)]
    return shlex.join([*parts, "--pictures", public(arguments.pictures), "--page", public(arguments.page)])


def main(argv: list[str]) -> None:
    """Draws everything, and writes the page."""
    arguments = parse_arguments(argv)
    for library in (datasets, diffusers_logging, transformers_logging):
        library.disable_progress_bar()
    target, sections = Path(arguments.pictures), []
    target.mkdir(parents=True, exist_ok=True)
    corpora = arguments.data * (len(arguments.runs) if len(arguments.data) == 1 else 1)
    with refusing(ImportError):
        for given in arguments.evaluations:
            sections.append(of_evaluation(Path(given), target))
        for run, data in zip(arguments.runs, corpora, strict=True):
            results = json.loads((Path(run) / "results.json").read_text(encoding="utf-8"))
            sections.append(Section(Path(run).resolve().name, results.get("command")))
            for picture in of_run(Path(run), results, data, arguments):
                print(target / picture[0], flush=True)
                sections[-1].pictures.append(picture)
        page = gallery_page(sections, command_line(arguments), arguments.pictures, arguments.page)
        Path(arguments.page).write_text(page, encoding="utf-8")
    print(f"{sum(len(section.pictures) for section in sections)} pictures on {arguments.page}")


if __name__ == "__main__":
    main(sys.argv[1:])
