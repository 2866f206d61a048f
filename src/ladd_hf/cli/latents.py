"""Latents of texts for `ladd encode`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .command_line import refusing
from .output import nothing_else, printable, say
from .pipelines import check_sampling, default_device, loaded_pipeline, quiet_libraries
from .readings import tell_readings

_SHOWN = 8  # numbers of a vector on a line


def encode(model: str, texts: Sequence[str], json: bool = False, cpu: bool = False, dtype: str = "float32") -> None:
    """Prints the latents of each text: its codes, or the beginnings of its vectors."""
    check_sampling(None, None, dtype)
    quiet_libraries()
    with refusing(ImportError), nothing_else(json):
        pipeline = loaded_pipeline(model, default_device(cpu), dtype)
        tell_readings(texts, pipeline.tokenizer)
        latents = pipeline.encode(list(texts)).tolist()
    kind = pipeline.model.config.latent_type
    found = [{"text": text, "latents": one} for text, one in zip(texts, latents, strict=True)]
    lines = [line for one in found for line in _lines(one, kind, len(texts) > 1)]
    say({"model": model, "latent_type": kind, "texts": found}, lines, json)


def _lines(one: dict[str, Any], kind: str, named: bool) -> list[str]:
    lines = [printable(one["text"])] if named else []
    if kind == "discrete":
        return [*lines, " ".join(map(str, one["latents"]))]
    for vector in one["latents"]:
        shown = " ".join(f"{number:7.3f}" for number in vector[:_SHOWN])
        lines.append(f"{shown} ..." if len(vector) > _SHOWN else shown)
    return lines
