"""The included recipes for `ladd recipes`: their names and what they are, or one of them."""

from __future__ import annotations

from itertools import takewhile
from typing import Any

from ..models.configuration_ladd import MODEL_SIZES
from .command_line import refusing
from .local_texts import text_of
from .output import say, table
from .recipe_files import CONFIGS, read_recipe, recipe_names, recipe_path


def recipes(name: str | None = None, json: bool = False) -> None:
    """Prints the list, the quickest first, or a recipe's file, as JSON with the settings of its bases."""
    if name is None:
        found = {one: _about(text_of(CONFIGS / f"{one}.yaml")) for one in sorted(recipe_names(), key=_work)}
        say([{"name": one, "about": about} for one, about in found.items()], table(found.items()), json)
        return
    with refusing():
        path = recipe_path(name)
        content, settings = text_of(path), read_recipe(path)
    about = {"name": path.stem, "about": _about(content), "settings": settings}
    say(about, [content.rstrip("\n")], json)


def _about(content: str) -> str:
    """Returns the comment on the first lines."""
    comment = takewhile(lambda line: line.startswith("#"), content.splitlines())
    return "\n".join(line.removeprefix("#").strip() for line in comment)


def _work(name: str) -> float:
    """Returns the number of training tokens times that of a token stream's weights, about: the order of recipes."""
    settings: dict[str, Any] = read_recipe(CONFIGS / f"{name}.yaml")
    hidden, layers, *_ = MODEL_SIZES.get(settings.get("size", ""), (settings.get("hidden_size", 0), 0))
    tokens = settings["length"] * settings["max_steps"] * settings.get("per_device_train_batch_size", 8)
    tokens *= settings.get("gradient_accumulation_steps", 1)
    return float(tokens * hidden**2 * settings.get("num_hidden_layers", layers))
