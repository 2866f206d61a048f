"""The wheel is the whole package: it holds every file of it, and works where there is no checkout. The sdist is the
whole project: the same wheel comes out of it."""

import os
import subprocess
import sys
import tarfile
import venv
from pathlib import Path
from zipfile import ZipFile

import pytest

ROOT = Path(__file__).resolve().parents[3]
SOURCE = ROOT / "src"

# Run in a fresh interpreter: imports every module of the wheel, with the checkout taken off the path.
IMPORT_EVERYTHING = """
import importlib, importlib.metadata, pkgutil, sys
from pathlib import Path

source, target = (Path(argument).resolve() for argument in sys.argv[1:])
sys.path = [entry for entry in sys.path if Path(entry).resolve() != source]

import ladd_hf

import ladd_command

names = [
    module.name
    for package in (ladd_hf, ladd_command)
    for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}.")
]
for module in [ladd_hf, *(importlib.import_module(name) for name in names if not name.endswith("__main__"))]:
    assert Path(module.__file__).is_relative_to(target), f"{module.__name__} came from {module.__file__}"
assert importlib.metadata.version("ladd_hf") == ladd_hf.__version__
"""


# What a user writes, and what a type checker is to say of it, line by line.
USERS_SCRIPT = {
    "from ladd_hf import LaddConfig, LaddForDiffusionLM, LaddPipeline, TimePath, from_mdlm": None,
    "from ladd_hf import LaddTransformer": 'Module "ladd_hf" has no attribute "LaddTransformer"',
    "reveal_type(LaddPipeline(LaddForDiffusionLM(LaddConfig())))": 'Revealed type is "ladd_hf.pipelines.pipeline_ladd.',
    "output = LaddPipeline(LaddForDiffusionLM(LaddConfig()))(num_steps=2, top_k=3); reveal_type(output)": (
        'Revealed type is "ladd_hf.pipelines.pipeline_output.LaddPipelineOutput"'
    ),
    "reveal_type(LaddPipeline(LaddForDiffusionLM(LaddConfig()))(return_dict=False))": 'Revealed type is "tuple[Any,',
    "path: int = TimePath(((1, 1), (0, 0)))": 'expression has type "TimePath"',
    "reveal_type(from_mdlm('source'))": 'Revealed type is "ladd_hf.models.modeling_ladd.LaddForDiffusionLM"',
}


def run(*command: str | Path, **kwargs: object) -> None:
    """Runs a command, and shows what it printed if it fails."""
    done = subprocess.run(command, capture_output=True, text=True, **kwargs)
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"


def wheel_of(project: Path, folder: Path) -> Path:
    """The wheel of a folder with a project, built without a network by the backend that is installed."""
    options = ["--no-index", "--no-deps", "--no-build-isolation", "--wheel-dir", folder]
    run(sys.executable, "-m", "pip", "wheel", *options, project)
    (path,) = folder.glob("*.whl")
    return path


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return wheel_of(ROOT, tmp_path_factory.mktemp("wheel"))


def test_the_wheel_holds_every_file_of_the_package_and_nothing_else(wheel: Path) -> None:
    files = (path for path in SOURCE.rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    with ZipFile(wheel) as archive:
        packed = set(archive.namelist())
    metadata = {name for name in packed if name.split("/")[0].endswith(".dist-info")}

    assert packed - metadata == {path.relative_to(SOURCE).as_posix() for path in files}
    assert {"ladd_hf/__init__.pyi", "ladd_hf/py.typed"} <= packed  # by which type checkers know the public names
    assert "ladd_hf/training/model_card_template.md" in packed
    assert any(name.endswith("licenses/LICENSE") for name in metadata)


def test_the_sdist_holds_the_project_and_gives_the_same_wheel(wheel: Path, tmp_path: Path) -> None:
    run(sys.executable, "-m", "hatchling", "build", "--target", "sdist", "--directory", tmp_path, cwd=ROOT)
    (path,) = tmp_path.glob("*.tar.gz")
    with tarfile.open(path) as archive:
        # the filter is there since Python 3.11.4
        archive.extractall(tmp_path / "unpacked", **({"filter": "data"} if hasattr(tarfile, "data_filter") else {}))
    (project,) = (tmp_path / "unpacked").iterdir()

    parts = {one.name for one in project.iterdir()}
    assert {"README.md", "LICENSE", "constraints.txt", "docs", "examples", "tests"} <= parts
    assert not parts & {".git", ".cache", ".venv", "build", "dist", "out"}
    with ZipFile(wheel) as first, ZipFile(wheel_of(project, tmp_path / "wheel")) as second:
        assert {one.filename: one.CRC for one in first.infolist()} == {
            one.filename: one.CRC for one in second.infolist()
        }


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the package and its scripts."""
    target = tmp_path_factory.mktemp("installed")
    run(sys.executable, "-m", "pip", "install", "--no-index", "--no-deps", "--target", target, wheel)
    return target


def test_every_module_of_the_installed_wheel_imports_without_the_checkout(installed: Path, tmp_path: Path) -> None:
    run(
        *(sys.executable, "-c", IMPORT_EVERYTHING, SOURCE, installed),
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(installed)},
    )


def test_the_installed_command_helps_at_once_writes_and_trains_on_a_file(installed: Path, tmp_path: Path) -> None:
    (script,) = (installed / "bin").glob("ladd*")
    environment = {**os.environ, "PYTHONPATH": str(installed), "PYTHONPROFILEIMPORTTIME": "1"}
    helped = subprocess.run([script, "--help"], env=environment, capture_output=True, text=True)
    assert helped.returncode == 0 and "generate" in helped.stdout, helped.stderr
    loaded = {line.split("|")[-1].strip().split(".")[0] for line in helped.stderr.splitlines() if "|" in line}
    assert "typer" in loaded and loaded.isdisjoint({"ladd_hf", "torch", "transformers", "accelerate"})

    environment.pop("PYTHONPROFILEIMPORTTIME")
    words = {**environment, "_LADD_COMPLETE": "complete_bash", "COMP_WORDS": "ladd gen", "COMP_CWORD": "1"}
    completed = subprocess.run([script], env=words, capture_output=True, text=True)
    assert completed.stdout.split() == ["generate"], completed.stderr

    # what .ci/package tries in an environment of the wheel alone
    run(sys.executable, ROOT / ".ci" / "check_command.py", script, cwd=tmp_path, env=environment)
    assert (tmp_path / "out" / "own-texts" / "di-ladd" / "model_index.json").is_file()


def test_a_type_checker_sees_the_public_types_of_the_installed_package(wheel: Path, tmp_path: Path) -> None:
    # an environment of the package alone: the libraries that it builds on are no matter, and take minutes to read
    venv.create(tmp_path / "env", symlinks=os.name != "nt")
    (site,) = (tmp_path / "env").rglob("site-packages")
    with ZipFile(wheel) as archive:
        archive.extractall(site)
    (python,) = (path for path in (tmp_path / "env").glob("*/python*") if path.stem == "python")
    (tmp_path / "script.py").write_text("\n".join(USERS_SCRIPT) + "\n")
    options = ["--python-executable", python, "--cache-dir", os.devnull, "--config-file", ""]
    environment = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "MYPYPATH")}
    command = [sys.executable, "-m", "mypy", *options, "script.py"]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    for number, (line, message) in enumerate(USERS_SCRIPT.items(), start=1):
        said = [one for one in done.stdout.splitlines() if one.startswith(f"script.py:{number}:")]
        assert any(message in one for one in said) if message else not said, f"{line}\n{done.stdout}\n{done.stderr}"
