"""transformers' own conformance suite, out of its source distribution: fetched once, of the version that is installed.

The package as installed leaves its tests out. pip fetches the source distribution, from wherever it installs from, into
`.cache` of this repository. As of transformers 5.23.0 three helper modules that the suite imports are in no
distribution; small ones stand in.
"""

from __future__ import annotations

import importlib
import subprocess
import sys
import tarfile
from pathlib import Path
from types import ModuleType, SimpleNamespace

import transformers
from filelock import FileLock

CACHE = Path(__file__).resolve().parents[2] / ".cache"
PACKAGE = "transformers_suite"
FILES = ("test_modeling_common.py", "test_configuration_common.py", "test_training_mixin.py")

# Settings that every configuration of transformers takes, none at its default.
COMMON_SETTINGS = {
    "return_dict": False,
    "output_hidden_states": True,
    "output_attentions": True,
    "dtype": "float16",
    "chunk_size_feed_forward": 7,
    "architectures": ["Another"],
    "id2label": {0: "no", 1: "yes", 2: "perhaps"},
    "label2id": {"no": 0, "yes": 1, "perhaps": 2},
    "problem_type": "multi_label_classification",
}


def transformers_suite() -> SimpleNamespace:
    """The suite's classes: `ModelTesterMixin`, `ConfigTester`, `TrainingTesterMixin`.

    Raises `RuntimeError` where the source distribution is neither in the cache nor within pip's reach.
    """
    folder = _fetched(transformers.__version__)
    for name in (PACKAGE, f"{PACKAGE}.exporters", f"{PACKAGE}.generation", f"{PACKAGE}.utils"):
        _add_module(name, __path__=[str(folder)] if name == PACKAGE else [])
    _add_module(f"{PACKAGE}.exporters.test_export", ExportTesterMixin=type("ExportTesterMixin", (), {}))
    _add_module(f"{PACKAGE}.generation.test_utils", GenerationTesterMixin=type("GenerationTesterMixin", (), {}))
    _add_module(f"{PACKAGE}.utils.test_configuration_utils", config_common_kwargs=COMMON_SETTINGS)
    modeling, configuration, training = (
        importlib.import_module(f"{PACKAGE}.{name.removesuffix('.py')}") for name in FILES
    )
    return SimpleNamespace(
        ModelTesterMixin=modeling.ModelTesterMixin,
        ConfigTester=configuration.ConfigTester,
        TrainingTesterMixin=training.TrainingTesterMixin,
    )


def _add_module(name: str, **contents: object) -> None:
    module = ModuleType(name)
    vars(module).update(contents)
    sys.modules[name] = module


def _fetched(version: str) -> Path:
    """The folder with the suite's files."""
    folder = CACHE / f"transformers-{version}-tests"
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder / "lock"):  # of several processes of tests one fetches
        _fetch(version, folder)
    return folder


def _fetch(version: str, folder: Path) -> None:
    """Puts the suite's files there, unless they are."""
    if not all((folder / name).is_file() for name in FILES):
        wanted = f"transformers=={version}"
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-binary", "transformers"]
        process = subprocess.run([*command, "--dest", str(folder), wanted], capture_output=True, text=True)
        if process.returncode:
            raise RuntimeError(
                f"pip could not fetch the source distribution {wanted}, which holds transformers' conformance suite: "
                f"{process.stderr.strip()[-500:]}"
            )
        (archive,) = folder.glob("*.tar.gz")
        with tarfile.open(archive) as tar:
            for name in FILES:
                member = tar.extractfile(f"transformers-{version}/tests/{name}")
                assert member is not None
                (folder / name).write_bytes(member.read())
        archive.unlink()
        (folder / "__init__.py").touch()  # the suite looks its own folder up as a package
