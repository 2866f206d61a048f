"""Versions and devices for `ladd env`, as a report of an error needs them."""

from __future__ import annotations

import os
import platform
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import torch

from .output import say, table

PACKAGES = (
    *("ladd_hf", "torch", "transformers", "diffusers", "accelerate", "datasets", "tokenizers", "safetensors"),
    *("huggingface_hub", "peft", "vector-quantize-pytorch", "numpy"),
)


def env(json: bool = False) -> None:
    """Prints them."""
    packages = {name: found for name in PACKAGES if (found := _version(name)) is not None}
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    facts: dict[str, Any] = {
        "Python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "cores": cores,
        "threads": torch.get_num_threads(),
        "devices": _devices(),
    }
    lines = table({**facts, "devices": "\n".join(facts["devices"]), **packages}.items())
    say({**facts, "packages": packages}, lines, json)


def _devices() -> list[str]:
    """Returns the names of the accelerators, and the CPU."""
    found = torch.accelerator.current_accelerator(check_available=True)
    if found is None:
        return ["CPU"]
    count = torch.accelerator.device_count()
    if found.type != "cuda":
        return [f"{found.type.upper()} {number}" for number in range(count)]
    described = []
    for number in range(count):
        about = torch.cuda.get_device_properties(number)
        described.append(f"{about.name}, {about.total_memory / 2**30:.0f} GiB")
    return described


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
