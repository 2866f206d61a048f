"""The included recipes for `ladd recipes`: their names and what they are, or one of them."""

from __future__ import annotations

from .command_line import refusing
from .local_texts import text_of
from .output import say, table
from .recipe_files import CONFIGS, read_recipe, recipe_names, recipe_path


def recipes(name: str | None = None, json: bool = False) -> None:
    """Prints the list, or a recipe's file, as JSON with the settings of its bases."""
    if name is None:
        found = {one: _about(text_of(CONFIGS / f"{one}.yaml")) for one in recipe_names()}
        say([{"name": one, "about": about} for one, about in found.items()], table(found.items()), json)
        return
    with refusing():
        path = recipe_path(name)
        content, settings = text_of(path), read_recipe(path)
    about = {"name": path.stem, "about": _about(content), "settings": settings}
    say(about, [content.rstrip("\n")], json)


def _about(content: str) -> str:
    """Returns the comment on the first line."""
    first = content.partition("\n")[0]
    return first.removeprefix("#").strip() if first.startswith("#") else ""
