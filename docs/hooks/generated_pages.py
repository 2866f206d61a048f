"""Pages of the site that have no file in docs/: those of the repository's root, and the recipes."""

from __future__ import annotations

from pathlib import Path

import yaml
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

# Pages of the site by their file in the root of the repository.
ROOT_PAGES = {
    "CHANGELOG.md": "changelog.md",
    "CODE_OF_CONDUCT.md": "code_of_conduct.md",
    "CONTRIBUTING.md": "contributing.md",
    "RELEASE.md": "release.md",
    "SECURITY.md": "security.md",
}


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Adds the pages. mkdocs calls it when it has listed the files of docs/."""
    root = Path(config.config_file_path).parent
    for name, page in ROOT_PAGES.items():
        files.append(File.generated(config, page, content=(root / name).read_text("utf-8")))
    files.append(File.generated(config, "recipes.md", content=recipes_page(root / config.extra["recipes"])))
    return files


def recipes_page(folder: Path) -> str:
    """Returns a page with the recipes of a folder: the comment that each begins with, and its settings."""
    files = sorted(folder.glob("*.yaml"))
    bases = sorted((folder / "bases").glob("*.yaml"))
    return "\n\n".join(
        [
            "# Recipes",
            "A recipe is a file of settings; `base` names those that it goes on from. "
            "[Training](data.md#training-on-them-with-one-command) reads one, "
            "[the index of the paper](paper_index.md#experiments) says what has been run.",
            *(section(file, file.name) for file in files),
            "## Bases",
            "What several recipes have in common.",
            *(section(file, f"bases/{file.name}", level=3) for file in bases),
        ]
    )


def section(file: Path, name: str, level: int = 2) -> str:
    """Returns the part of the page on one recipe."""
    lines = file.read_text("utf-8").splitlines()
    count = next((number for number, line in enumerate(lines) if not line.startswith("#")), len(lines))
    comment = "\n".join(line.removeprefix("#").strip() for line in lines[:count])
    settings = "\n".join(lines[count:]).strip()
    base = yaml.safe_load(settings).get("base", [])
    names = [base] if isinstance(base, str) else base
    going_on = "Goes on from " + ", ".join(f"`{one}`" for one in names) + "." if names else ""
    block = "\n".join("    " + line if line else "" for line in ["```yaml", *settings.splitlines(), "```"])
    parts = [f"{'#' * level} {name}", comment, going_on, f'??? note "settings"\n\n{block}']
    return "\n\n".join(part for part in parts if part)
