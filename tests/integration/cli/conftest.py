"""The command `ladd` in this process, and small pipelines for it."""

from __future__ import annotations

import json
import sys

import pytest
from diffusers.utils import logging as diffusers_logging
from helpers.sampling import tiny_tokenizer
from transformers.utils import logging as transformers_logging
from typer.testing import CliRunner

from ladd_command.app import app
from ladd_hf import LaddJointScheduler, LaddPipeline, LaddSequentialScheduler


class Said:
    """What a command said: lines for people, or a document, and its exit code."""

    def __init__(self, result):
        self.code, self.out, self.err = result.exit_code, result.stdout, result.stderr
        self.lines = self.out.splitlines()

    @property
    def document(self):
        return json.loads(self.out)

    @property
    def refusal(self):
        """The one sentence of an error."""
        said = [line for line in self.err.splitlines() if not line.startswith(("W", "Failed"))]  # libraries' own
        assert self.code == 2 and len(said) == 1 and not self.out, (self.code, said, self.out)
        return said[0]


@pytest.fixture
def ladd(monkeypatch):
    """`ladd("generate", folder, ...)`: what the command says; verbosity is left as it was."""
    libraries = (transformers_logging, diffusers_logging)
    verbosity = [library.get_verbosity() for library in libraries]

    def run(*words):
        words = [str(word) for word in words]
        monkeypatch.setattr(sys, "argv", ["ladd", *words])
        result = CliRunner().invoke(app, words)
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return Said(result)

    yield run
    for library, level in zip(libraries, verbosity, strict=True):
        library.set_verbosity(level)


@pytest.fixture(scope="session")
def models(stirred_model, tmp_path_factory):
    """A folder of pipelines by their kind, with a tokenizer; `ids` has none."""
    folder = tmp_path_factory.mktemp("models")
    for kind in ("none", "continuous", "anchors", "discrete"):
        scheduler = LaddJointScheduler() if kind == "none" else LaddSequentialScheduler(latent_share=0.25)
        LaddPipeline(stirred_model(kind), scheduler, tiny_tokenizer()).save_pretrained(folder / kind)
    LaddPipeline(stirred_model("discrete")).save_pretrained(folder / "ids")
    return folder


@pytest.fixture(scope="session")
def texts(tmp_path_factory):
    """A file of letters that the tokenizer knows."""
    file = tmp_path_factory.mktemp("texts") / "abc.txt"
    file.write_text("abcdefghiabcc" * 200)
    return file


@pytest.fixture(scope="session")
def prose(tmp_path_factory):
    """A file of sentences, no two of which are the same."""
    file = tmp_path_factory.mktemp("prose") / "my.txt"
    who, where = ("a cat", "the dog", "one bird", "my friend"), ("hill", "lake", "tree", "road", "house")
    lines = [f"On day {n} {who[n % 4]} saw {n * n} of them near the {where[n % 5]}." for n in range(300)]
    file.write_text("\n".join(lines))
    return file
