"""Commands of the shell blocks of pages, read by the parsers of what they start; nothing is run."""

from __future__ import annotations

import argparse
import io
import itertools
import re
import runpy
import shlex
import sys
from contextlib import redirect_stderr, redirect_stdout
from importlib import import_module
from pathlib import Path

import pytest
import torch
import yaml
from accelerate.commands.launch import launch_command_parser

import ladd_command.runs
from helpers.examples import make_gallery, recipes
from helpers.printed_blocks import ROOT
from ladd_command.app import app

# Jobs with a parser of their own, which does all the checks that need no model, and others' first call after theirs.
_PARSING = ("train", "evaluate", "tune", "finetune", "distill", "write")
_CHECKING = {
    **dict.fromkeys(("texts", "latents", "info", "push", "demo"), "quiet_libraries"),
    "convert": "convert_lightning",
}
_OTHERS = ("pip", ".", "pre-commit", "git", "mkdocs", "jupyter")  # programs that are not ours
_OTHER_MODULES = ("venv", "pytest")
_ASSIGNMENT = re.compile(r"\w+=.*")


class Understood(Exception):
    """Raised where the work would begin, once the flags are read."""


def commands(block):
    """Returns the words of each command of a shell block, without comments, the variables that are set for it and the
    folder of an environment."""
    found = []
    for line in block.replace("\\\n", " ").splitlines():
        lexer = shlex.shlex(line, posix=True, punctuation_chars="&;|")
        lexer.whitespace_split = True
        words = []
        for word in [*lexer, ";"]:
            if word in ("&&", ";"):
                found.append(words)
                words = []
            elif words or not _ASSIGNMENT.fullmatch(word):
                words.append(word)
    return [[words[0].removeprefix(".venv/bin/"), *words[1:]] for words in found if words]


def read_only(monkeypatch, folder):
    """Makes all jobs stop once their flags are read, in a working folder in which the checks of flags find what they
    look for: `benchmarks` and `docs`."""
    monkeypatch.chdir(folder)
    for name in ("benchmarks", "docs"):
        (folder / name).symlink_to(ROOT / name)
    monkeypatch.setattr(ladd_command.runs, "launches", lambda processes, flags: False)
    # `--bf16` is for a machine with a GPU
    monkeypatch.setattr("transformers.training_args.is_torch_bf16_gpu_available", lambda: True)
    for name in _PARSING:
        module = import_module(f"ladd_hf.cli.{name}")
        monkeypatch.setattr(module, "parse_arguments", _stopping(module.parse_arguments))
    for name, first in _CHECKING.items():
        monkeypatch.setattr(import_module(f"ladd_hf.cli.{name}"), first, _stop)


def read(words, monkeypatch):
    """Reads a command as what it starts would, with the files that it names in the working folder.

    Raises `AssertionError` with what is said of a command that is refused, and for a program that is unknown here.
    """
    for before, word in itertools.pairwise(["", *words]):
        if before == "--output_dir":  # a new folder
            continue
        if re.fullmatch(r"[\w-]+\.(txt|ckpt)", word):
            Path(word).touch()
        elif word.startswith("out/"):  # a run
            Path(word).mkdir(parents=True, exist_ok=True)
            (Path(word) / "results.json").touch()
    monkeypatch.setattr(sys, "argv", list(words))
    said = io.StringIO()
    try:
        with redirect_stdout(said), redirect_stderr(said):
            _start(words, monkeypatch)
    except Understood:
        pass
    except SystemExit as stop:
        assert stop.code in (0, None), f"{shlex.join(words)}\n{said.getvalue()}"


def _stop(*_, **__):
    raise Understood


def _stopping(parse):
    def parse_and_stop(*given, **options):
        parse(*given, **options)
        raise Understood

    return parse_and_stop


def _start(words, monkeypatch):
    match words:
        case ["ladd", *rest]:
            app(rest, prog_name="ladd")
        case ["accelerate", "launch", *rest]:
            launch = launch_command_parser().parse_args(rest)
            if launch.config_file is not None:
                assert yaml.safe_load((ROOT / launch.config_file).read_text()), launch.config_file
            assert not launch.module, f"{shlex.join(words)}: a module, which is not read here"
            _script(launch.training_script, launch.training_script_args, monkeypatch)
        case ["python" | "python3", "-m", module, *_] if module in _OTHER_MODULES:
            pass
        case ["python", "-m", "ladd_hf.evaluation.harness", *rest]:
            harness = import_module("ladd_hf.evaluation.harness")
            monkeypatch.setattr("lm_eval.__main__.setup_logging", lambda: None)
            monkeypatch.setattr("lm_eval.__main__.HarnessCLI.execute", _stop)
            harness.main(rest)
        case ["python", script, *rest]:
            _script(script, rest, monkeypatch)
        case [program, *_]:
            assert program in _OTHERS, f"{shlex.join(words)}: {program} is not known here"


def _script(name, flags, monkeypatch):
    """Starts a script of `examples/` or `benchmarks/`. Flags that it passes on are those of a training."""
    assert (ROOT / name).is_file(), f"{name} is not there"
    if name == "examples/make_gallery.py":
        make_gallery.parse_arguments(flags)
        return
    passed_on, known = [], argparse.ArgumentParser.parse_known_args

    def parse_args(parser, *given, **options):
        if others := known(parser, *given, **options)[1]:
            parser.error(f"{shlex.join(others)} is not understood")
        raise Understood

    def parse_known_args(parser, *given, **options):
        namespace, others = known(parser, *given, **options)
        if type(parser) is not argparse.ArgumentParser:  # that of a job, which goes on checking
            return namespace, others
        passed_on.extend(others)
        raise Understood

    # some switch gradients off before they read their flags
    with torch.enable_grad(), monkeypatch.context() as patch, pytest.raises(Understood):
        patch.setattr(sys, "argv", [name, *flags])
        patch.setattr(sys, "path", [str((ROOT / name).parent), *sys.path])
        patch.setattr(argparse.ArgumentParser, "parse_args", parse_args)
        patch.setattr(argparse.ArgumentParser, "parse_known_args", parse_known_args)
        runpy.run_path(str(ROOT / name), run_name="__main__")
    if passed_on:
        recipes.parse_arguments(passed_on)
