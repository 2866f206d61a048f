"""The modules that travel with a model are those it needs, as they are, and no others."""

from __future__ import annotations

import ast
import importlib
import json
import re
import sys
from pathlib import Path

import pytest

import ladd_hf
from ladd_hf.models.remote_code import write_code

PACKAGE = Path(ladd_hf.__file__).parent
ROOMS = ("models", "diffusion", "utils")  # what a network is made of
QUANTIZERS = {"vector_quantizer.py", "finite_scalar.py", "gumbel.py"}
KINDS = {
    "none": set(),
    "continuous": set(),
    "pretrained": set(),
    "discrete": {"finite_scalar.py"},
    "vector": {"vector_quantizer.py"},
    "gumbel": {"gumbel.py"},
}
NEEDED = {"huggingface_hub", "safetensors", "tokenizers", "torch", "transformers"}


@pytest.fixture(scope="module", params=KINDS)
def kind(request):
    return request.param


@pytest.fixture(scope="module")
def code(kind, tiny_model, encoder_folders, tmp_path_factory):
    """The texts of the modules that a model of this kind takes along, by their names."""
    folder = tmp_path_factory.mktemp(kind)
    encoder = {"encoder_name_or_path": encoder_folders["bert"]} if kind == "pretrained" else {}
    model = tiny_model("continuous" if encoder else kind, **encoder)
    with model.code_included():
        model.save_pretrained(folder)
    return {path.name: path.read_text() for path in folder.glob("*.py")}


def imports(text, relative):
    """The first parts of the names of what a module imports, of its own package or from elsewhere."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.ImportFrom) and bool(node.level) == relative:
            yield node.module.split(".")[0]
        elif isinstance(node, ast.Import) and not relative:
            yield from (alias.name.split(".")[0] for alias in node.names)


def without_imports(text):
    """The lines of a module that say nothing of where another one is."""
    return [line for line in text.splitlines() if line and not line.startswith("from .")]


def test_of_the_quantizers_only_its_own_travels(code, kind):
    assert set(code) & QUANTIZERS == KINDS[kind]


def test_no_library_is_asked_for_that_the_model_does_not_need(code, kind):
    asked = {name for text in code.values() for name in imports(text, relative=False)} - set(sys.stdlib_module_names)
    assert asked <= NEEDED | ({"vector_quantize_pytorch"} if kind in ("discrete", "vector") else set())


def test_every_module_is_one_of_the_networks_as_it_stands(code):
    # by their contents: folders that stand above, such as training, have modules of the same names
    sources = {path.name: path.read_text() for room in ROOMS for path in (PACKAGE / room).rglob("*.py")}
    for name, text in code.items():
        assert name in sources, f"{name} is no module of {ROOMS}"
        assert without_imports(text)[: len(without_imports(sources[name]))] == without_imports(sources[name]), name


def test_all_that_they_import_of_the_package_is_there(code):
    for name, text in code.items():
        missing = {one for one in imports(text, relative=True) if f"{one}.py" not in code}
        assert not missing, f"{name} imports {missing}"
        assert not re.search(r"^\s*from \.(\.|\w+\.)", text, re.MULTILINE), f"{name} imports from a folder"


def test_either_model_is_loaded_from_the_module_that_knows_both(tiny_model, tmp_path):
    model = tiny_model("none")
    for one in (model, model.model):
        with one.code_included():
            one.save_pretrained(tmp_path)
        auto_map = json.loads((tmp_path / "config.json").read_text())["auto_map"]
        assert auto_map["AutoModel"] == "modeling_ladd.LaddModel"
        assert auto_map["AutoModelForMaskedLM"] == "modeling_ladd.LaddForDiffusionLM"


# --- packages that cannot be made flat ---


@pytest.fixture
def model_of(tmp_path, monkeypatch):
    """`model_of(lines, files)`: a model whose class `main.py` of a package defines, below `lines`; `files` by path."""

    def make(lines, files):
        name = f"package_of_{tmp_path.name}"  # another one for each test: imported modules stay
        main = f"from torch import nn\n{lines}\n\n\nclass Model(nn.Module):\n    pass\n"
        for path, text in {"main.py": main, **files}.items():
            (tmp_path / name / path).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name / path).write_text(text)
        monkeypatch.syspath_prepend(tmp_path)
        return importlib.import_module(f"{name}.main").Model()

    return make


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "flat").mkdir()
    return tmp_path / "flat"


def test_modules_of_any_depth_become_neighbours(model_of, folder):
    files = {
        "inner/deep/one.py": "from ...two import TWO\nfrom ..three import THREE\n\nONE = TWO + THREE\n",
        "inner/three.py": "THREE = 3\n",
        "two.py": "TWO = 2\n",
        "unasked.py": "raise RuntimeError\n",
    }
    model = model_of("from .inner.deep.one import (\n    ONE,\n)", files)
    write_code(model, [type(model)], folder)
    assert {path.name for path in folder.iterdir()} == {"main.py", "one.py", "two.py", "three.py"}
    assert (folder / "one.py").read_text() == "from .two import TWO\nfrom .three import THREE\n\nONE = TWO + THREE\n"
    assert "\nfrom .one import (\n    ONE,\n)\n" in (folder / "main.py").read_text()


def test_two_modules_of_one_name_are_refused(model_of, folder):
    files = {"left/parts.py": "A = 1\n", "right/parts.py": "B = 2\n"}
    model = model_of("from .left.parts import A\nfrom .right.parts import B", files)
    with pytest.raises(ValueError, match=r"would be one file on the Hub: rename one of them\.") as refused:
        write_code(model, [type(model)], folder)
    assert all(str(Path(path)) in str(refused.value) for path in files)
    assert not list(folder.iterdir())


@pytest.mark.parametrize("line", ["from . import parts", "from .inner import parts", "from .inner import NAME"])
def test_a_package_that_is_imported_as_a_whole_is_refused(line, model_of, folder):
    model = model_of(line, {"parts.py": "", "inner/parts.py": "", "inner/__init__.py": "NAME = 1\n"})
    with pytest.raises(ValueError, match=r"Line 2 of .*main\.py imports a package as a whole: import from the module"):
        write_code(model, [type(model)], folder)
    assert not list(folder.iterdir())
