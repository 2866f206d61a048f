"""Where `ladd` starts processes through accelerate, with which options, and what it makes of their end."""

from __future__ import annotations

import os
from types import SimpleNamespace

import pytest
import torch
from accelerate.commands import launch as accelerate_launch
from accelerate.commands.config import config_args
from accelerate.commands.launch import _validate_launch_command, launch_command_parser

from ladd_command import launching
from ladd_hf.utils import own_command


@pytest.fixture(autouse=True)
def outside(monkeypatch, tmp_path):
    """No launcher around, no settings of accelerate, no GPU."""
    for name in (*launching._OF_LAUNCHERS, launching.FOLDER, "PYTHONSAFEPATH"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(config_args, "default_config_file", str(tmp_path / "default_config.yaml"))
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    return tmp_path


@pytest.mark.parametrize("name", launching._OF_LAUNCHERS)
def test_a_process_of_a_launcher_launches_nothing(monkeypatch, name):
    assert not launching.inside_launch()
    monkeypatch.setenv(name, "0")
    assert launching.inside_launch()


@pytest.mark.parametrize(
    ("gpus", "processes", "flags", "expected"),
    [
        (0, None, [], False),
        (1, None, [], False),
        (2, None, [], True),
        (2, None, ["--use_cpu"], False),
        (2, None, ["--cpu=true"], False),
        (2, 1, [], False),
        (0, 2, ["--use_cpu"], True),
        (2, 2, ["--help"], False),
    ],
)
def test_a_launcher_is_needed_for_several_processes(monkeypatch, gpus, processes, flags, expected):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
    assert launching.launches(processes, flags) == expected


def test_the_settings_of_accelerate_are_launched_with(outside):
    (outside / "default_config.yaml").write_text("compute_environment: LOCAL_MACHINE\ndistributed_type: 'NO'\n")
    assert launching.launches(None, []) and not launching.launches(None, ["--help"])
    assert launching._options(None) == []
    assert launching._options(3) == ["--num_processes", "3", "--multi_gpu"], "which starts several on a CPU, too"
    (outside / "default_config.yaml").write_text("compute_environment: LOCAL_MACHINE\ndistributed_type: FSDP\n")
    assert launching._options(3) == ["--num_processes", "3"], "sharded, as the settings say"


@pytest.mark.parametrize(("gpus", "processes", "count"), [(0, None, 1), (4, None, 4), (4, 2, 2), (0, 2, 2)])
def test_accelerate_understands_the_options_and_has_nothing_to_warn_of(monkeypatch, caplog, gpus, processes, count):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
    parsed = launch_command_parser().parse_args([*launching._options(processes), "--module", "ladd_command", "train"])
    args, _, _ = _validate_launch_command(parsed)
    assert (args.num_processes, bool(args.multi_gpu)) == (count, count > 1)
    assert args.module and args.training_script == "ladd_command" and args.training_script_args == ["train"]
    assert not caplog.records


class FailedOne(Exception):
    def __init__(self, code):
        self.returncode = code


class FailedSeveral(Exception):
    def __init__(self, code):
        self.code = code

    def get_first_failure(self):
        return 0, SimpleNamespace(exitcode=self.code)


class Signalled(Exception):
    sigval = 2


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (FailedOne(2), 2),
        (FailedOne(1), 1),
        (FailedOne(-9), 137),
        (FailedSeveral(2), 2),
        (FailedSeveral(-15), 143),
        (Signalled(), 130),
        (None, 0),
    ],
)
def test_the_exit_code_is_passed_on(monkeypatch, capsys, error, code):
    started = []

    def run(args):
        started.append((args.training_script_args, os.environ[launching.FOLDER]))
        if error is not None:
            raise error

    monkeypatch.setattr(accelerate_launch, "launch_command", run)
    assert launching.launch(["train", "--seed", "1"], None) == code
    ((argv, folder),) = started
    assert argv == ["train", "--seed", "1"]
    assert launching.FOLDER not in os.environ and not os.path.exists(folder)
    said = "" if code in (0, 130) else f"ladd: error: a process ended with exit code {code}.\n"
    assert capsys.readouterr().err == said


def test_an_error_of_the_launcher_itself_is_not_hidden(monkeypatch):
    def run(args):
        raise ZeroDivisionError

    monkeypatch.setattr(accelerate_launch, "launch_command", run)
    with pytest.raises(ZeroDivisionError):
        launching.launch(["train"], None)


def test_what_all_processes_refuse_is_said_once(monkeypatch, capsys):
    def run(args):
        for _ in range(3):
            assert own_command.launched() and own_command.leave_refusal("ladd train: error: no.")
        raise FailedSeveral(2)

    monkeypatch.setattr(accelerate_launch, "launch_command", run)
    assert launching.launch(["train"], 3) == 2
    assert capsys.readouterr().err == "ladd train: error: no.\n"
    assert not own_command.leave_refusal("of a process of its own"), "which says it itself"
