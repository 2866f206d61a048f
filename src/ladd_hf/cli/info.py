"""Facts about a saved model for `ladd info`: its kind, sizes and schedule, its training and its scores."""

from __future__ import annotations

import inspect
import json as json_format
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from huggingface_hub import ModelCard, parse_safetensors_file_metadata, snapshot_download
from safetensors import SafetensorError, safe_open

from ..models.configuration_ladd import LaddConfig
from ..models.encoders.encoder_options import PretrainedOptions
from ..schedulers import LaddJointScheduler, LaddScheduler, LaddSequentialScheduler, LaddTunedScheduler
from ..training.cost_files import load_cost
from ..training.model_card import METHODS
from .command_line import loading, refusing
from .local_texts import text_of
from .output import nothing_else, say, table
from .pipelines import model_source, quiet_libraries

_SMALL = ["*.json", "README.md"]  # files that are read
_LARGE = ["*tokenizer.json"]
_OF_MODELS = (*LaddScheduler.OF_THE_MODEL, "table")  # not options of a schedule
_SCHEDULERS = (LaddJointScheduler, LaddSequentialScheduler, LaddTunedScheduler, LaddScheduler)
_OF_SCORES = ("num_steps", "temperature", "latent_temperature", "stderr")
_ROW = re.compile(r"^\| (.+?) \| (.*) \|$", re.MULTILINE)
_FENCED = re.compile(r"^(`{3,})\w*\n(.*?)\n\1$", re.MULTILINE | re.DOTALL)


def info(model: str, json: bool = False) -> None:
    """Prints what configuration, card and other files of a model say; weights are not loaded."""
    quiet_libraries()
    with refusing(), nothing_else(json), loading(model):
        document = facts_of(model)
    say(document, table(_rows(document)), json)


def facts_of(model: str) -> dict[str, Any]:
    """Returns the facts as JSON data. Raises `ValueError` and `OSError` for what is no model, or cannot be fetched."""
    source = model_source(model)
    folder = Path(source)
    if not folder.is_dir():
        folder = Path(snapshot_download(source, allow_patterns=_SMALL, ignore_patterns=_LARGE))
    inner = folder / "model" if (folder / "model" / "config.json").is_file() else folder
    if not (inner / "config.json").is_file():
        raise ValueError("it holds neither a pipeline nor a model: give one that was saved by `save_pretrained`.")
    config = LaddConfig.from_pretrained(inner)
    prefix = "" if inner == folder else f"{inner.name}/"
    weights = dict(_shapes(inner)) if Path(source).is_dir() else _shapes_of_repository(source, prefix, inner)
    card = folder / "README.md"
    return {
        "model": model,
        "kind": METHODS[config.latent_type],
        "weights": sum(weights.values()) or None,
        "sizes": {
            "hidden_size": config.hidden_size,
            "num_hidden_layers": config.num_hidden_layers,
            "num_attention_heads": config.num_attention_heads,
            "vocab_size": config.vocab_size,
            "length": config.max_position_embeddings,
        },
        "latents": _latents(config),
        "schedule": _schedule(folder / "scheduler" / "scheduler_config.json"),
        "training": {**(_training(text_of(card)) if card.is_file() else {}), **_cost(folder)},
        "scores": _scores(card) if card.is_file() else [],
    }


def _latents(config: LaddConfig) -> dict[str, Any] | None:
    if config.latent_type == "none":
        return None
    options = config.encoder_options
    codes = {"codebook_size": config.codebook_size} if config.latent_type == "discrete" else {}
    return {
        "latent_type": config.latent_type,
        "latent_length": config.latent_length,
        "latent_dim": config.latent_dim,
        **codes,
        "encoder": "pretrained" if isinstance(options, PretrainedOptions) else "trained",
    }


def _schedule(file: Path) -> dict[str, Any] | None:
    """Returns the class of a saved scheduler and its options that are not as by default; `None` if there is none."""
    if not file.is_file():
        return None
    saved = json_format.loads(text_of(file))
    name = saved.get("_class_name", "")
    kind = next((one for one in _SCHEDULERS if one.__name__ == name), LaddScheduler)
    known = inspect.signature(kind).parameters
    options = {
        option: value
        for option, value in saved.items()
        if option in known and option not in _OF_MODELS and value != known[option].default
    }
    return {"class": name, "options": options}


def _training(card: str) -> dict[str, Any]:
    """Returns the command and the facts of the section on training of a card of this package."""
    section = card.partition("\n## Training\n")[2].partition("\n## ")[0]
    command = _FENCED.search(section)
    found = {_plain(name): _plain(value) for name, value in _ROW.findall(section) if set(name) - set("- |")}
    return ({"command": command[2]} if command else {}) | found


def _cost(folder: Path) -> dict[str, Any]:
    cost = load_cost(folder)
    return {"cost": {name: cost[name] for name in ("steps", "flops", "seconds")}} if cost else {}


def _scores(card: Path) -> list[dict[str, Any]]:
    """Returns the scores in a card's metadata."""
    results = ModelCard.load(card, ignore_metadata_errors=True).data.eval_results or []
    return [
        {
            "dataset": one.dataset_name,
            "metric": one.metric_name or one.metric_type,
            "value": one.metric_value,
            **{name: value for name, value in (one.metric_args or {}).items() if name in _OF_SCORES},
        }
        for one in results
    ]


def _plain(markdown: str) -> str:
    return re.sub(r"\\([\\`*\[\]<>|_#+.)-])", r"\1", markdown).strip()


def _shapes(folder: Path) -> Iterator[tuple[str, int]]:
    """Yields the names of stored weights and their numbers, without reading them."""
    for file in sorted(folder.glob("*.safetensors")):
        try:
            with safe_open(file, "numpy") as weights:
                for name in weights.keys():  # noqa: SIM118, which is no dict
                    size = 1
                    for one in weights.get_slice(name).get_shape():
                        size *= one
                    yield name, size
        except SafetensorError as error:
            raise ValueError(
                f"{file} holds no weights ({error}); fetch it again, with `git lfs pull` in a clone."
            ) from error


def _shapes_of_repository(model: str, prefix: str, inner: Path) -> dict[str, int]:
    """Returns the same of a repository, whose headers alone are fetched."""
    index = inner / "model.safetensors.index.json"
    files = {"model.safetensors"}
    if index.is_file():
        files = set(json_format.loads(text_of(index))["weight_map"].values())
    counts: dict[str, int] = {}
    for file in sorted(files):
        found = parse_safetensors_file_metadata(model, f"{prefix}{file}")
        counts |= {f"{file} {dtype}": count for dtype, count in found.parameter_count.items()}
    return counts


def _rows(document: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Yields the lines for people."""
    yield "model", document["model"]
    yield "kind", document["kind"]
    if document["weights"] is not None:
        yield "weights", f"{document['weights']:,}, buffers included"
    yield "sizes", _listed(document["sizes"])
    if document["latents"] is not None:
        yield "latents", _listed(document["latents"])
    if (schedule := document["schedule"]) is not None:
        options = f" with {_listed(schedule['options'])}" if schedule["options"] else ""
        yield "schedule", f"{schedule['class']}{options}"
    training = dict(document["training"])
    cost = training.pop("cost", None)
    repeated = ("sizes", "latents", "parameters") + (("training cost",) if cost else ())
    for name, value in training.items():
        if name not in repeated:
            yield name, value
    if cost is not None:
        yield "training cost", f"{cost['flops']:.3g} floating-point operations, {cost['seconds']:,.0f} s"
    for number, score in enumerate(document["scores"]):
        error = f" ± {score['stderr']:.4f}" if "stderr" in score else ""
        drawn = f", temperature {score['temperature']:g}" if "temperature" in score else ""
        drawn += f", {score['latent_temperature']:g} of latents" if "latent_temperature" in score else ""
        yield "" if number else "scores", f"{score['value']:.4f}{error}  {score['metric']}, {score['dataset']}{drawn}"


def _listed(facts: dict[str, Any]) -> str:
    told = {name: f"{value:,}" if isinstance(value, int) else str(value) for name, value in facts.items()}
    return ", ".join(f"{name} {value}" for name, value in told.items())
