"""Pushes a saved pipeline with its card to the Hub: `ladd push`."""

from __future__ import annotations

import json as json_format
import re
from pathlib import Path

from huggingface_hub import CommitOperationAdd, HfApi

from ..pipelines.pipeline_ladd import LaddPipeline
from .command_line import loading, refuse, refusing
from .local_texts import text_of
from .output import nothing_else, say
from .pipelines import quiet_libraries

CARD = "README.md"
_LEFT_OUT = ("checkpoint-", "_", ".")  # beginnings of names: a run's states, moved runs, hidden files
_LOADED = re.compile(r"(LaddPipeline\.from_pretrained\()\"[^\"\n]*\"")


def push(model: str, repository: str, private: bool = False, message: str | None = None, json: bool = False) -> None:
    """Pushes the files of a pipeline's folder in one commit, with the repository's name in the card's example.

    The pipeline is loaded first, so that none is pushed that does not load.
    """
    quiet_libraries()
    if not Path(model).is_dir():
        refuse(f"{model} is not a folder; give one that holds a pipeline, such as a training leaves.")
    with refusing(ImportError), nothing_else(json):
        with loading(model):
            LaddPipeline.from_pretrained(model)
        api = HfApi()
        address = api.create_repo(repository, private=private or None, exist_ok=True)
        files = files_of(Path(model))
        done = api.create_commit(
            address.repo_id,
            [CommitOperationAdd(name, _content(path, name, address.repo_id)) for name, path in files.items()],
            commit_message=message or "Upload LaddPipeline",
        )
    document = {"repository": address.repo_id, "url": str(address), "commit": done.oid, "files": [*files]}
    say(document, [f"{len(files)} files in {address}, commit {done.oid[:8]}"], json)


def files_of(folder: Path) -> dict[str, Path]:
    """Returns the files to push by their names in the repository."""
    paths = {path.relative_to(folder).as_posix(): path for path in sorted(folder.rglob("*")) if path.is_file()}
    return {
        name: path
        for name, path in paths.items()
        if not any(part.startswith(_LEFT_OUT) for part in name.split("/")) and "__pycache__" not in name.split("/")
    }


def _content(path: Path, name: str, repository: str) -> bytes | Path:
    if name != CARD:
        return path
    named = _LOADED.sub(lambda found: f"{found[1]}{json_format.dumps(repository)}", text_of(path))
    return named.encode("utf-8")
