"""Evaluates trained models on a corpus: their bounds, and the quality and cost of their samples.

    python examples/evaluate_ladd.py out/python-docs-di/di-ladd --data python-docs --length 64
    accelerate launch examples/evaluate_ladd.py user/model --data lm1b --num_sequences 1000 --json lm1b.json
    python examples/evaluate_ladd.py out/python-docs-di/di-ladd --beside out/python-docs-di/mdlm --data python-docs \
        --budgets 2 4 8 --schedules saved tuned --judges ngram entropy memorization --timing_rounds 5 --results out/eval

Without `--budgets` the bound is computed: on the test split by default, or on your own file. With them samples are
drawn at these numbers of evaluations and scored by judges that read the corpus' training texts (docs/measuring.md). The
folder `--results` gets their scores and costs: JSON of each model, with which a run that was stopped goes on, a table,
and a plot against evaluations, floating-point operations and seconds.

MODEL is a folder or a repository of a pipeline, or of a model that was saved with its tokenizer. The corpus is one of
`known_corpora()`, a data set of the Hub, or local files; its texts become blocks of the model's own tokens.
"""

from __future__ import annotations

import json
import math
import sys
import tempfile
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import torch
from accelerate import Accelerator, PartialState
from command_line import loading, refusing
from diffusers.utils import logging as diffusers_logging
from evaluation_flags import EvaluationArguments, judges_of, measures_of, parse_arguments, settings_of
from transformers import PrinterCallback
from transformers.utils import logging as transformers_logging

from ladd_hf import LaddForDiffusionLM, LaddPipeline, LaddTrainer, LaddTrainingArguments, TextFrame
from ladd_hf.data import load_corpus, token_blocks
from ladd_hf.data.corpora import is_own_file, separator_of
from ladd_hf.data.token_blocks import separator_between
from ladd_hf.diffusion.paths import path_data, path_name, time_path
from ladd_hf.evaluation import evaluate_models
from ladd_hf.evaluation.models import TABLE
from ladd_hf.evaluation.tasks import least_tokens
from ladd_hf.metrics import Estimate, ModelMeasure, model_measures
from ladd_hf.metrics.model_measures import measured
from ladd_hf.training.model_card import with_error


def load_model(name: str) -> tuple[LaddForDiffusionLM, Any]:
    """Returns model and tokenizer of a pipeline, or of a model saved with its tokenizer."""
    with loading(f"--model {name}"):
        pipeline = LaddPipeline.from_pretrained(name)
    if pipeline.tokenizer is None:
        raise ValueError(f"{name} has no tokenizer, which texts need: save it with the model.")
    return pipeline.model, pipeline.tokenizer


def held_out_blocks(arguments: EvaluationArguments, model: LaddForDiffusionLM, tokenizer: Any) -> Any:
    """Returns blocks of the split, evenly spread over it if not all are requested.

    Documents are separated as in training: by EOS or SEP, or else by a space unless they are pieces of one text. Blocks
    are made as in training: packed, wrapped or padded, and filled up as in the model's training texts.
    """
    frame = TextFrame.of(model.config)
    packing = arguments.packing or frame.packing
    padded = packing == "pad"
    as_in_training = packing == frame.packing and frame.fill is not None
    # unless a split is named, your own file is evaluated completely
    whole = {"split": "train", "held_out": 0.0} if arguments.split is None and is_own_file(arguments.data) else {}
    texts = load_corpus(
        arguments.data, **{"split": arguments.split or "test", **whole}, text_column=arguments.text_column
    )
    length = arguments.length or model.config.max_position_embeddings
    if length > model.config.max_position_embeddings:
        raise ValueError(
            f"--length is {length}, but the model has {model.config.max_position_embeddings} positions: give less."
        )
    separator = arguments.separator
    bare = padded and frame.packing == "pad" and not (frame.start or frame.end)
    special = None if arguments.special_tokens and not bare else False
    if special is None and separator is None:
        separator = separator_between(tokenizer, packing, separator_of(arguments.data))
    blocks = token_blocks(
        texts,
        tokenizer,
        length,
        packing,
        remainder="pad" if padded else "drop",
        fill="eos" if as_in_training else "padding",
        special_tokens=special,
        separator=separator,
        min_tokens=least_tokens(model.config),
    )
    number = min(arguments.num_sequences or len(blocks), len(blocks))
    return blocks.select(np.linspace(0, len(blocks) - 1, number).round().astype(int))


def evaluate(arguments: EvaluationArguments) -> dict[str, Any]:
    """Computes the bound in nats per token along each path that the model supports, its parts, and its perplexity.

    Perplexity is exp(bound); it is omitted for continuous latents, where the sum is not a bound.
    """
    model, tokenizer = load_model(arguments.model)
    blocks = held_out_blocks(arguments, model, tokenizer)
    kind = model.config.latent_type
    paths = ["joint"] if kind == "none" else [path_data(path) for path in arguments.paths]
    with tempfile.TemporaryDirectory() as folder:
        options = LaddTrainingArguments(
            folder,
            per_device_eval_batch_size=arguments.batch_size,
            nelbo_paths=paths,
            nelbo_samples=arguments.samples,
            measures=measures_of(arguments),
            measured_texts=len(blocks),
            seed=arguments.seed,
            bf16_full_eval=arguments.bf16,
            use_cpu=arguments.cpu,
            disable_tqdm=True,
            dataloader_pin_memory=torch.cuda.is_available() and not arguments.cpu,
        )
        trainer = LaddTrainer(model, options, eval_dataset=blocks, processing_class=tokenizer)
        trainer.remove_callback(PrinterCallback)
        metrics = trainer.evaluate()
    bounds = {}
    for spec in paths:
        path = path_name(spec)
        tokens, latents = metrics[f"eval_{path}_token_nats"], metrics[f"eval_{path}_latent_nats"]
        whole = kind == "none" or (kind == "discrete" and time_path(spec).vertices[0] == (1, 1))
        perplexity = math.exp(tokens + latents) if whole else None  # of tokens given their codes there is none
        bounds[path if kind != "none" else "tokens"] = {
            "nats_per_token": tokens + latents,
            "token_nats": tokens,
            "latent_nats": latents,
            "perplexity": perplexity,
        }
    settings = {key: getattr(arguments, key) for key in ("model", "data", "split", "samples", "seed")}
    settings["split"] = settings["split"] or ("all" if is_own_file(arguments.data) else "test")
    return {
        **settings,
        "packing": arguments.packing or TextFrame.of(model.config).packing,
        "sequences": len(blocks),
        "length": len(blocks[0]["input_ids"]),
        "latents": kind,
        "bounds": bounds,
        "measures": {one.name: measured_of(one, metrics) for one in model_measures(measures_of(arguments))},
    }


def measured_of(measure: ModelMeasure, metrics: dict[str, float]) -> dict[str, Any]:
    """Returns a measure's numbers among a trainer's metrics, with their definition."""
    numbers = [
        (one.name, metrics[f"eval_{one.name}"], metrics.get(f"eval_{one.name}_stderr")) for one in measure.numbers
    ]
    return measured(measure, {name: Estimate(value, error) for name, value, error in numbers})


def show(result: dict[str, Any]) -> str:
    """Formats the results as a table."""
    lines = [f"{result['data']} ({result['split']}), {result['sequences']:,} sequences of {result['length']} tokens\n"]
    lines.append(f"{'path':<12}{'nats per token':>16}{'tokens':>10}{'latents':>10}{'perplexity':>12}")
    for path, bound in result["bounds"].items():
        perplexity = "-" if bound["perplexity"] is None else f"{bound['perplexity']:.2f}"
        parts = f"{bound['nats_per_token']:>16.4f}{bound['token_nats']:>10.4f}{bound['latent_nats']:>10.4f}"
        lines.append(f"{path:<12}{parts}{perplexity:>12}")
    for one in result["measures"].values():
        scores = one["scores"]
        for number in one["numbers"]:
            score = with_error(scores[number["name"]], scores.get(f"{number['name']}_stderr"), number["digits"])
            lines.append(f"{number['metric']}: {score}")
    if result["latents"] == "continuous":
        lines.append("The latents' part is relative to the smallest noise, so the sum is no bound: no perplexity.")
    return "\n".join(lines)


def evaluate_samples(arguments: EvaluationArguments) -> None:
    """Evaluates the samples of all models, prints the table, and writes the folder."""
    accelerator = Accelerator(cpu=arguments.cpu)
    evaluate_models(
        [*arguments.beside, arguments.model],
        arguments.data,
        settings_of(arguments),
        arguments.results,
        judges_of(arguments) or None,
        torch.bfloat16 if arguments.bf16 else None,
        accelerator,
        tell=lambda line: print(line, flush=True),
        text_column=arguments.text_column,
    )
    if accelerator.is_main_process:
        print(f"\n{(Path(arguments.results) / TABLE).read_text()}\nResults are in {arguments.results}.")


def main(argv: list[str]) -> None:
    """Measures, prints, and writes the results."""
    arguments = parse_arguments(argv, __doc__.split("\n")[0])
    for library in (datasets, diffusers_logging, transformers_logging):
        library.disable_progress_bar()
    if arguments.budgets:
        with refusing(ImportError):  # of a judge's optional package
            evaluate_samples(arguments)
        return
    with refusing():
        result = evaluate(arguments)
    if not PartialState().is_main_process:
        return
    print(show(result))
    if arguments.json is not None:
        with refusing():
            Path(arguments.json).write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])
