"""Writes many samples of a pipeline to one file, on any number of processes.

    ladd write out/sawtooth-di/di-ladd --num_samples 1000 --num_steps 8
    ladd write user/model --processes 4 --prompts prompts.txt --top_p 0.9

Each line of the file is a sample: `{"index": 0, "text": ..., "nfe": 8}`, `"ids"` if the pipeline has no tokenizer.
Sample `i` is drawn from random numbers of the seed and of `i` alone: the file is the same for any number of processes
and any batch size. (As far as kernels round alike for batches of another shape: if they do not, a draw that depends on
the last bit of a logit may rarely differ.)
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from accelerate import PartialState

from ..diffusion.rng import RowGenerator
from ..pictures import record, show
from ..pipelines.pipeline_ladd import LaddPipeline
from ..utils.number_ranges import COUNT, SEED_OF_64_BITS
from .command_line import CommandLine, check_flags, check_output_file, named, refuse, refusing
from .local_texts import lines_of
from .output import ShareDone, nothing_else, say
from .pipelines import check_sampling, loaded_pipeline, quiet_libraries

# Ranges of the numeric flags; the pipeline checks those that depend on the model.
RANGES = {
    **dict.fromkeys(("num_samples", "num_steps", "batch_size", "length"), COUNT),
    "seed": SEED_OF_64_BITS,
}


@dataclass
class GenerationArguments:
    """Settings of a generation run."""

    pipeline: str = field(metadata={"help": "Folder or repository of a pipeline; may be given as the first argument."})
    output: str = field(default="samples.jsonl", metadata={"help": "Output file, one line per sample."})
    num_samples: int | None = field(
        default=None, metadata={"help": "Total samples, or samples per prompt; 1 by default.", "aliases": "-n"}
    )
    prompts: str | None = field(
        default=None, metadata={"help": "File with one prompt per line; empty lines are skipped."}
    )
    num_steps: int = field(
        default=32, metadata={"help": "Evaluations of the denoiser, including the latents'.", "aliases": "--steps"}
    )
    batch_size: int = field(default=64, metadata={"help": "Samples drawn at once by each process."})
    seed: int = 0
    length: int | None = field(default=None, metadata={"help": "Tokens per sample; by default as in training."})
    temperature: float | None = field(
        default=None, metadata={"help": "Temperature of the tokens; 0 is greedy. The scheduler's own by default."}
    )
    latent_temperature: float | None = field(
        default=None, metadata={"help": "Temperature of codes or anchors. The scheduler's own by default."}
    )
    top_p: float = field(default=1.0, metadata={"help": "Nucleus of token sampling."})
    top_k: int | None = field(default=None, metadata={"help": "Number of most likely tokens to draw from, or all."})
    schedule: str | None = field(
        default=None,
        metadata={
            "help": "'joint', 'sequential' or corners, such as '[[1, 1], [1, 0.3], [0, 0]]'; the pipeline's own if not "
            "given."
        },
    )
    token_waiting: str | None = field(
        default=None,
        metadata={
            "help": "Whether tokens wait for their latents: 'none', 'while_written' or 'until_known'; as in the "
            "pipeline's own schedule if not given."
        },
    )
    dtype: str = field(default="float32", metadata={"help": "'float32', 'bfloat16' or 'float16'."})
    watch: bool = field(default=False, metadata={"help": "Show the way of the first sample from masks to text."})
    json: bool = field(default=False, metadata={"help": "Print one JSON document about the file, and nothing else."})
    cpu: bool = field(default=False, metadata={"help": "Run on the CPU, even with an accelerator."})


def parser() -> CommandLine:
    """Returns the parser of the command line."""
    return CommandLine(
        GenerationArguments,
        launched=True,
        usage="%(prog)s MODEL [--FLAG VALUE ...]",
        description=(__doc__ or "").split("\n")[0],
    )


def parse_arguments(argv: list[str]) -> GenerationArguments:
    """Parses the command line. Exits with a message for invalid settings, before anything is loaded."""
    (arguments,) = parser().parse(named(argv, "--pipeline"))
    check_flags(arguments, RANGES)
    check_sampling(arguments.schedule, arguments.token_waiting, arguments.dtype)
    if arguments.prompts is not None and not Path(arguments.prompts).is_file():
        refuse(f"--prompts {arguments.prompts} is not a file; give one with a prompt on each line.")
    check_output_file("--output", arguments.output)
    if arguments.watch and arguments.json:
        refuse("--watch shows states to people, and --json is for programs: give one of the two.")
    return arguments


def load(arguments: GenerationArguments, device: torch.device) -> LaddPipeline:
    """Returns the pipeline on its device, with the requested schedule and waiting, and the saved scheduler's other
    options."""
    return loaded_pipeline(
        arguments.pipeline, device, arguments.dtype, arguments.schedule, arguments.token_waiting, "--pipeline"
    )


def samples(
    pipeline: LaddPipeline, numbers: torch.Tensor, prompts: list[str], arguments: GenerationArguments
) -> Iterator[dict[str, Any]]:
    """Yields the samples with these numbers, `(n,)`, batch by batch. With k prompts, sample i has prompt i modulo k."""
    for rows in numbers.split(arguments.batch_size):
        options: dict[str, Any] = {
            "prompt": [prompts[row % len(prompts)] for row in rows.tolist()] if prompts else None,
            "num_steps": arguments.num_steps,
            "batch_size": len(rows),
            "length": arguments.length,
            "generator": RowGenerator.from_seed(arguments.seed, rows.to(pipeline.device)),
            "temperature": arguments.temperature,
            "latent_temperature": arguments.latent_temperature,
            "top_p": arguments.top_p,
            "top_k": arguments.top_k,
        }
        if arguments.watch and rows[0] == 0:
            output, trajectory = record(pipeline, **options)
            show(trajectory, pipeline.tokenizer)
        else:
            output = pipeline(**options)
        for place, row in enumerate(rows.tolist()):
            ids = output.sequences[place, : output.lengths[place]].tolist()
            content = {"ids": ids} if output.texts is None else {"text": output.texts[place]}
            yield {"index": row, **content, "nfe": output.nfe}


def main(argv: list[str]) -> None:
    """Writes each process's share beside the output; the first process joins them."""
    arguments = parse_arguments(argv)
    quiet_libraries()
    state = PartialState(cpu=arguments.cpu or not torch.accelerator.is_available())
    with refusing():
        prompts = lines_of(arguments.prompts) if arguments.prompts else []
    if arguments.prompts and not prompts:
        refuse(f"--prompts {arguments.prompts} holds no prompt: write one on each line.")
    count = (arguments.num_samples or 1) * max(len(prompts), 1)

    # 1. Each process draws consecutive numbers
    target = Path(arguments.output)
    parts = [target.with_name(f".{target.name}.{rank}") for rank in range(state.num_processes)]
    part = parts[state.process_index]
    share = torch.arange(count).tensor_split(state.num_processes)[state.process_index]
    with refusing(ImportError), nothing_else(arguments.json):
        try:
            pipeline = load(arguments, state.device)
            tell = ShareDone(f"{len(share):,} samples") if state.is_main_process and not arguments.watch else None
            with part.open("w", encoding="utf-8", newline="\n") as file:
                for number, sample in enumerate(samples(pipeline, share, prompts, arguments), 1):
                    file.write(json.dumps(sample, ensure_ascii=False) + "\n")
                    if tell is not None:
                        tell(number / len(share))
        except (ValueError, OSError, ImportError):
            part.unlink(missing_ok=True)
            raise

    # 2. One file, in order, written atomically
    state.wait_for_everyone()
    if state.is_main_process:
        with parts[0].open("ab") as file:
            for other in parts[1:]:
                file.write(other.read_bytes())
                other.unlink()
            file.flush()
            os.fsync(file.fileno())
        parts[0].replace(target)
        settings = {"num_steps": arguments.num_steps, "seed": arguments.seed}
        document = {"model": arguments.pipeline, "output": str(target), "samples": count, **settings}
        say(document, [f"{count:,} samples in {target}"], arguments.json)
    state.wait_for_everyone()
    state.destroy_process_group()


if __name__ == "__main__":
    main(sys.argv[1:])
