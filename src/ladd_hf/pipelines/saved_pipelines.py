"""Loading and saving of pipelines, with what diffusers alone needs to load them."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from huggingface_hub import snapshot_download

from ..models.adapters import has_adapters, merged
from ..models.modeling_ladd import LaddForDiffusionLM
from ..schedulers import LaddJointScheduler, LaddScheduler, LaddSequentialScheduler, LaddTunedScheduler
from ..utils.local_paths import public_model_name, refuse_file
from .diffusers_stubs import index_of_a_model, without_files, write_imports

_DOWNLOAD_OPTIONS = ("cache_dir", "force_download", "local_files_only", "token", "revision")


class SavedPipeline:
    """Part of a pipeline: its files, in a folder or a repository."""

    if TYPE_CHECKING:
        config_name: str
        components: dict[str, Any]
        model: Any

    @classmethod
    def download(cls, pretrained_model_name: str, **kwargs: Any) -> str:
        """Fetches a pipeline's repository from the Hub and returns its folder in the cache.

        Accepts `cache_dir`, `force_download`, `local_files_only`, `token` and `revision`. The repository's Python files
        are not downloaded; the installed package is used instead. (As of diffusers 0.42.1 its own method refuses
        components of other packages whose code is not in the repository.)
        """
        options = {name: kwargs[name] for name in _DOWNLOAD_OPTIONS if name in kwargs}
        return snapshot_download(pretrained_model_name, ignore_patterns=["*.py"], **options)

    @classmethod
    def load_config(cls, pretrained_model_name_or_path: str | os.PathLike, **kwargs: Any) -> Any:
        """Loads the pipeline's configuration. Uses this package's classes instead of the repository's stub files, and
        treats a folder that holds only a model as a pipeline with the default scheduler."""
        folder = Path(pretrained_model_name_or_path)
        index = None if (folder / cls.config_name).is_file() else index_of_a_model(folder)
        loaded = super().load_config(folder, **kwargs) if index is None else index  # type: ignore[misc]
        schedulers = (LaddScheduler, LaddJointScheduler, LaddSequentialScheduler, LaddTunedScheduler)
        modules = {one.__name__: one.__module__ for one in (LaddForDiffusionLM, *schedulers)}
        if isinstance(loaded, tuple):
            return without_files(loaded[0], modules), *loaded[1:]
        return without_files(loaded, modules)

    def to_json_string(self) -> str:
        """Returns the pipeline's configuration as JSON; of the local folder it was loaded from only the name."""
        document = json.loads(super().to_json_string())  # type: ignore[misc]
        if source := document.get("_name_or_path"):
            document["_name_or_path"] = public_model_name(source)
        return json.dumps(document, indent=2, sort_keys=True) + "\n"

    def to_json_file(self, json_file_path: str | os.PathLike) -> None:
        """Writes `model_index.json` and the stub files with which diffusers alone can load the pipeline."""
        super().to_json_file(json_file_path)  # type: ignore[misc]
        write_imports(Path(json_file_path), type(self))

    def save_pretrained(self, save_directory: str | os.PathLike, *args: Any, **kwargs: Any) -> None:
        """Saves the pipeline with a complete model: the active adapters are merged in a copy.

        `pipe.model.save_pretrained` saves an adapter alone. Raises `ValueError` if `save_directory` is a file.
        """
        refuse_file(save_directory)
        if isinstance(self.model, torch.nn.Module) and has_adapters(self.model):
            whole = type(self)(**{**self.components, "model": merged(self.model)})
            return whole.save_pretrained(save_directory, *args, **kwargs)
        super().save_pretrained(save_directory, *args, **kwargs)  # type: ignore[misc]
