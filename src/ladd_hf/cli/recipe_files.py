"""Recipes as YAML files, each of which may extend others named as its `base`."""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import yaml

from .local_texts import text_of
from .recipe_stages import changed_stages

_OF_RECIPES = (".yaml", ".yml", ".json", "")  # JSON is YAML
# The included recipes, which others may extend.
CONFIGS = Path(__file__).resolve().parents[1] / "recipes"


def recipe_names() -> list[str]:
    """Returns the names of the included recipes."""
    return sorted(path.stem for path in CONFIGS.glob("*.yaml"))


def recipe_path(given: str) -> Path:
    """Returns the file of a recipe, given by its path or, if it is an included one, by its name.

    Raises `ValueError` for what is neither.
    """
    if Path(given).is_file():
        if Path(given).suffix not in _OF_RECIPES:
            raise ValueError(f"{given} is no recipe, which is a .yaml file: train on texts with --data {given}.")
        return Path(given)
    name = Path(given).name.removesuffix(".yaml")
    included = CONFIGS / f"{name}.yaml"
    # `examples/configs/` is where a checkout shows the included ones
    if included.is_file() and str(Path(given).parent) in (".", str(Path("examples", "configs"))):
        return included
    close = get_close_matches(name, recipe_names(), 1)
    meant = f"did you mean {close[0]}? " if close else ""
    raise ValueError(f"{given} is not a file, nor the name of an included recipe; {meant}`ladd recipes` lists these.")


def read_recipe(path: Path, readers: tuple[Path, ...] = ()) -> dict[str, Any]:
    """Returns a recipe's settings, merged over those of its `base`; `readers` are the recipes that led here.

    A base is a YAML file below the folder of the requested recipe, or one of the included recipes, by its name or its
    path among them, so that these may be copied: a foreign recipe reads no other file of the machine.

    Raises `ValueError` for a base that is elsewhere, missing or circular, and for a file without settings.
    """
    path = path.resolve()
    if readers and not _may_be_base(path, readers[0].parent):
        raise ValueError(
            f"{readers[-1]} has the `base` {path}; a base is a .yaml file below {readers[0].parent}, or one of "
            f"the recipes in {CONFIGS}: copy it there."
        )
    if path in readers:
        raise ValueError(f"{path} is a `base` of its own, by way of {readers[-1]}: take one of them out.")
    if not path.is_file():
        if not readers:
            raise ValueError(f"{path} is not a file; give one that is.")
        raise ValueError(
            f"{readers[-1]} has the `base` {path}, which is neither a file nor an included recipe; paths start at its "
            "own folder."
        )
    settings = _settings(path)
    bases = settings.pop("base", [])
    bases = [bases] if isinstance(bases, str) else bases
    if not isinstance(bases, list) or not all(isinstance(base, str) for base in bases):
        raise ValueError(f"{path} has the `base` {bases!r}; give the path of a recipe or a list of them, or no `base`.")
    merged: dict[str, Any] = {}
    for base in bases:
        merged = _over(merged, read_recipe(_base(path.parent, base), (*readers, path)))
    if isinstance(settings.get("stages"), Mapping):
        settings["stages"] = changed_stages(merged.get("stages"), settings["stages"])
    return _over(merged, settings)


def _base(folder: Path, name: str) -> Path:
    """Returns the file of a base: in the recipe's own folder if it is there, else among the included ones."""
    files = (folder / name, CONFIGS / name, CONFIGS / f"{name}.yaml")
    return next((file for file in files if file.is_file()), files[0])


def yaml_of(text: str) -> Any:
    """Parses a flag's value as YAML, of which JSON is a part. Raises `ValueError` for text that is not YAML."""
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ValueError(f"{text!r} is not YAML ({' '.join(str(error).split())}): mend it there.") from error


def changed(before: Any, value: Any) -> Any:
    """Merges a setting over an earlier value: a mapping without `name` changes options of the earlier choice."""
    chosen = {"name": before} if isinstance(before, str) else before
    if isinstance(value, dict) and "name" not in value and isinstance(chosen, dict) and "name" in chosen:
        return {**chosen, **value}
    return value


def _over(before: dict[str, Any], settings: dict[str, Any]) -> dict[str, Any]:
    return before | {name: changed(before.get(name), value) for name, value in settings.items()}


def _may_be_base(path: Path, folder: Path) -> bool:
    """True if a recipe in `folder` may extend a file, links followed."""
    return path.suffix in (".yaml", ".yml") and any(path.is_relative_to(one) for one in (folder, CONFIGS))


def _settings(path: Path) -> dict[str, Any]:
    """Reads the settings of one file."""
    try:
        settings = yaml.safe_load(text_of(path))
    except yaml.YAMLError as error:
        raise ValueError(f"{path} is not YAML ({' '.join(str(error).split())}); mend it there.") from error
    if settings is not None and not isinstance(settings, dict):
        raise ValueError(
            f"{path} holds a {type(settings).__name__}; a recipe holds fields and their values, such as `length: 64`."
        )
    return settings or {}
