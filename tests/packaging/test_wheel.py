"""The wheel is the whole package: it holds every file of it, and works where there is no checkout."""

import os
import subprocess
import sys
from pathlib import Path
from zipfile import ZipFile

import pytest

ROOT = Path(__file__).resolve().parents[2]
SOURCE = ROOT / "src"

# Run in a fresh interpreter: imports every module of the wheel, with the checkout taken off the path.
IMPORT_EVERYTHING = """
import importlib, importlib.metadata, pkgutil, sys
from pathlib import Path

source, target = (Path(argument).resolve() for argument in sys.argv[1:])
sys.path = [entry for entry in sys.path if Path(entry).resolve() != source]

import ladd_hf

names = [module.name for module in pkgutil.walk_packages(ladd_hf.__path__, "ladd_hf.")]
for module in [ladd_hf, *(importlib.import_module(name) for name in names if not name.endswith("__main__"))]:
    assert Path(module.__file__).is_relative_to(target), f"{module.__name__} came from {module.__file__}"
assert importlib.metadata.version("ladd_hf") == ladd_hf.__version__
"""


def run(*command: str | Path, **kwargs: object) -> None:
    """Runs a command, and shows what it printed if it fails."""
    done = subprocess.run(command, capture_output=True, text=True, **kwargs)
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built without a network by the backend that is installed."""
    folder = tmp_path_factory.mktemp("wheel")
    options = ["--no-index", "--no-deps", "--no-build-isolation", "--wheel-dir", folder]
    run(sys.executable, "-m", "pip", "wheel", *options, ROOT)
    (path,) = folder.glob("*.whl")
    return path


@pytest.mark.slow
def test_the_wheel_holds_every_file_of_the_package_and_nothing_else(wheel: Path) -> None:
    files = (path for path in SOURCE.rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    with ZipFile(wheel) as archive:
        packed = set(archive.namelist())
    metadata = {name for name in packed if name.split("/")[0].endswith(".dist-info")}

    assert packed - metadata == {path.relative_to(SOURCE).as_posix() for path in files}
    assert any(name.endswith("licenses/LICENSE") for name in metadata)


@pytest.mark.slow
def test_every_module_of_the_installed_wheel_imports_without_the_checkout(wheel: Path, tmp_path: Path) -> None:
    target, elsewhere = tmp_path / "installed", tmp_path / "elsewhere"
    elsewhere.mkdir()
    run(sys.executable, "-m", "pip", "install", "--no-index", "--no-deps", "--target", target, wheel)
    run(
        *(sys.executable, "-c", IMPORT_EVERYTHING, SOURCE, target),
        cwd=elsewhere,
        env={**os.environ, "PYTHONPATH": str(target)},
    )
