"""The corpus of installed packages: split by package, each text once, and another corpus for other versions."""

from __future__ import annotations

import importlib
import logging
import re
from importlib import metadata
from pathlib import Path

import pytest
from helpers.distributions import install

from ladd_hf.data import known_corpora, load_corpus, package_docs

MODULE = importlib.import_module("ladd_hf.data.package_docs")
ROOT = Path(__file__).resolve().parents[3]
ALPHA = {
    "alpha/__init__.py": '"""Alpha, the first."""',
    "alpha/b.py": 'def f():\n    """Adds 2 numbers.\n\n    >>> f()\n    3\n    """',
    "alpha/guide.md": "A guide.\n```python\nx = 1\n```\n",
}
BETA = {"beta/a.py": '"""Of beta."""\ndef g(): """Said by both."""'}
GAMMA = {"gamma/a.py": '"""Of gamma."""'}


@pytest.fixture
def packages(site, monkeypatch):
    """Three packages, of one split each, and one that is not installed."""
    monkeypatch.setattr(MODULE, "PACKAGES", {"train": ("alpha", "gone"), "validation": ("beta",), "test": ("gamma",)})
    for name, files in {"alpha": ALPHA, "beta": BETA, "gamma": GAMMA}.items():
        install(site, name, "1.0", files, description=f"The package {name}.")
    return site


@pytest.fixture
def build(tmp_path):
    """`build(**options)`: its texts by split."""

    def build(**options):
        corpus = package_docs(**{"cache_dir": tmp_path / "cache", **options})
        return {split: corpus[split]["text"][:] for split in corpus}

    return build


def test_each_split_holds_the_texts_of_its_packages_file_by_file_without_code(packages, build):
    expected = ["the package alpha", "alpha the first", "adds two numbers", "a guide"]
    assert build() == {
        "train": expected,
        "validation": ["the package beta", "of beta", "said by both"],
        "test": ["the package gamma", "of gamma"],
    }
    assert build(normalize=False)["train"] == [
        "The package alpha.", "Alpha, the first.", "Adds 2 numbers.", "A guide."
    ]  # fmt: skip


def test_a_text_occurs_once_and_a_held_out_one_never_in_training(packages, build):
    again = {**ALPHA, "alpha/c.py": '"""alpha - THE first!"""\ndef h(): """Said by both."""'}
    install(packages, "alpha", "1.0", again, description="The package alpha.")
    before = build()
    assert before["train"] == ["the package alpha", "alpha the first", "adds two numbers", "a guide"]
    assert "said by both" in before["validation"]


def test_it_is_the_same_in_any_number_of_processes_and_each_time(packages, build, tmp_path, monkeypatch):
    monkeypatch.setattr(MODULE, "_FILES_AT_ONCE", 1)
    more = {f"alpha/m{number}.py": f'"""Text {number}."""' for number in range(20)}
    install(packages, "alpha", "1.0", {**ALPHA, **more})
    assert build() == build(cache_dir=tmp_path / "other") == build(cache_dir=tmp_path / "third", num_proc=2)
    first, again = (package_docs(cache_dir=tmp_path / "cache")["train"]._fingerprint for _ in range(2))
    assert first == again


def test_it_is_built_once_for_each_version(packages, build, tmp_path, monkeypatch):
    def folders():
        return len(list((tmp_path / "cache" / "ladd_hf").iterdir()))

    texts = build()
    with monkeypatch.context() as context:
        context.setattr(MODULE, "_texts_by_split", lambda *args: pytest.fail("it was built before"))
        assert build() == texts
    install(packages, "gamma", "1.1", GAMMA, description="The package gamma.")
    assert build() == texts and folders() == 2, "the same texts of another version"
    install(packages, "gamma", "1.1", {"gamma/a.py": '"""Changed."""'})
    assert build()["test"] == ["changed"] and folders() == 3


def test_its_description_states_exact_versions_and_what_is_missing(packages, tmp_path):
    install(packages, "alpha", "2.5.1", ALPHA)
    for split in package_docs(cache_dir=tmp_path / "cache").values():
        assert split.info.description.splitlines() == [
            "Documentation of installed Python packages, without code, in 27 symbols.",
            *("train: alpha 2.5.1", "validation: beta 1.0", "test: gamma 1.0", "not installed: gone"),
        ]


def test_a_file_that_is_not_python_is_left_out_and_named(packages, build, caplog):
    broken = {"alpha/bad.py": "def f(:", "alpha/old.rst": b"na\xefve", **ALPHA}
    install(packages, "alpha", "1.0", broken, description="The package alpha.")
    (packages / "alpha" / "b.py").unlink()
    with caplog.at_level(logging.WARNING):
        texts = build()
    assert texts["train"] == ["the package alpha", "alpha the first", "a guide"]
    for file, reason in (("bad.py", "SyntaxError"), ("old.rst", "UnicodeDecodeError"), ("b.py", "FileNotFoundError")):
        assert re.search(rf"alpha/{file} of alpha 1\.0 is left out of package-docs: {reason}, ", caplog.text), file
    assert "Files left out of package-docs: 3 (alpha 3)." in caplog.text


def test_nothing_is_imported(packages, build):
    install(packages, "alpha", "1.0", {"alpha/a.py": '"""Alpha."""\nraise RuntimeError("it was imported")'})
    assert build()["train"] == ["alpha"]


def test_a_split_without_any_package_is_refused(packages, build, monkeypatch):
    monkeypatch.setattr(MODULE, "PACKAGES", {**MODULE.PACKAGES, "test": ("gone", "lost")})
    with pytest.raises(
        ValueError, match=r"The split 'test' of package-docs is the documentation of gone, lost, none of"
    ):
        build()


def test_it_is_a_corpus_by_name_normal_and_as_written_streamed_or_not(packages, tmp_path):
    cache = str(tmp_path / "cache")
    assert load_corpus("package-docs", "test", cache_dir=cache)["text"][:] == ["the package gamma", "of gamma"]
    written = load_corpus("package-docs-text", "test", streaming=True, cache_dir=cache)
    assert [row["text"] for row in written] == ["The package gamma.", "Of gamma."]
    assert known_corpora()["package-docs"].splits == ("train", "validation", "test")


# --- the packages themselves ---


def test_no_package_is_in_two_splits_and_all_are_pinned():
    names = [name for some in MODULE.PACKAGES.values() for name in some]
    assert len({name.lower() for name in names}) == len(names)
    pinned = dict(re.findall(r"^([\w.-]+)==(.+)$", (ROOT / "constraints.txt").read_text(), re.MULTILINE))
    assert set(names) <= set(pinned)
    assert f"{len(names)} packages" in known_corpora()["package-docs"].remarks


def test_held_out_packages_come_with_every_installation():
    def required(name):
        plain = (
            re.split(r"[\s;<>=!~\[(]", line)[0] for line in metadata.requires(name) or () if "extra ==" not in line
        )
        return {one.lower() for one in plain}

    for split, through in (("validation", "torch"), ("test", "datasets")):
        assert set(MODULE.PACKAGES[split]) <= required(through)
    assert {"torch", "datasets"} <= required("ladd_hf")


def test_of_what_is_installed_held_out_texts_are_large_and_none_is_trained_on(tmp_path, monkeypatch):
    some = {**MODULE.PACKAGES, "train": ("click", "packaging")}
    monkeypatch.setattr(MODULE, "PACKAGES", some | {"test": ("networkx",), "validation": ("Jinja2",)})
    corpus = package_docs(cache_dir=tmp_path)
    train = set(corpus["train"]["text"])
    assert sum(map(len, corpus["test"]["text"])) > 1_000_000
    for split in ("validation", "test"):
        assert not train & set(corpus[split]["text"])
    windows = {text[start : start + 100] for text in train for start in range(len(text) - 99)}
    held_out = [text[i : i + 100] for text in corpus["test"]["text"] for i in range(0, len(text) - 99, 10)]
    assert sum(window in windows for window in held_out) < 0.002 * len(held_out)
