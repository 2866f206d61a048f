"""Several processes for a job, started by accelerate as `accelerate launch` does."""

from __future__ import annotations

import logging
import os
import signal
import sys
import tempfile
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path

# As in `ladd_hf.utils.own_command`: the folder in which the processes leave what is to be said.
FOLDER = "LADD_LAUNCH"
_REFUSAL = "refusal.txt"
INTERRUPTED = 130
_OF_LAUNCHERS = ("ACCELERATE_MIXED_PRECISION", "TORCHELASTIC_RUN_ID", "LOCAL_RANK")  # variables that launchers set


def inside_launch() -> bool:
    """True in a process that a launcher started."""
    return any(name in os.environ for name in _OF_LAUNCHERS)


def launches(processes: int | None, flags: Sequence[str]) -> bool:
    """True if a job needs accelerate's launcher: for several processes, which are asked for or have a GPU each, or for
    the settings of `accelerate config`. One process with neither runs as it is."""
    if {"-h", "--help"} & set(flags):
        return False
    if processes is not None and processes > 1:
        return True
    if Path(import_module("accelerate.commands.config.config_args").default_config_file).is_file():
        return True
    on_cpu = {"--use_cpu", "--use-cpu", "--cpu"} & {flag.partition("=")[0] for flag in flags}
    return processes is None and not on_cpu and import_module("torch").cuda.device_count() > 1


def launch(argv: Sequence[str], processes: int | None) -> int:
    """Runs `ladd` with these words in processes that accelerate starts, and returns its exit code.

    What they refuse is said once. An interrupt ends them, and this process with them.
    """
    launcher = import_module("accelerate.commands.launch")
    _silence("torch.distributed.elastic")  # which repeats what is said below
    os.environ.setdefault("PYTHONSAFEPATH", "1")  # modules are not looked for in the working directory, as by a script
    with tempfile.TemporaryDirectory() as folder:
        os.environ[FOLDER] = folder
        before = signal.signal(signal.SIGINT, _wait)
        try:
            options = [*_options(processes), "--module", __package__ or "ladd_command", *argv]
            launcher.launch_command(launcher.launch_command_parser().parse_args(options))
            code = 0
        except Exception as error:
            code = _code_of(error)
        finally:
            signal.signal(signal.SIGINT, before)
            del os.environ[FOLDER]
        refusal = Path(folder) / _REFUSAL
        if refusal.is_file():
            print(refusal.read_text(encoding="utf-8"), file=sys.stderr)
        elif code not in (0, INTERRUPTED):
            print(f"ladd: error: a process ended with exit code {code}.", file=sys.stderr)
    return code


def _silence(library: str) -> None:
    """Lets none of a library's log records out, whatever levels its modules give themselves."""
    logger = logging.getLogger(library)
    logger.addHandler(logging.NullHandler())
    logger.propagate = False


def _options(processes: int | None) -> list[str]:
    """Returns the launcher's options, all that it would else warn about; without those of `accelerate config`."""
    settings = import_module("accelerate.commands.config.config_args")
    if Path(settings.default_config_file).is_file():
        alone = str(settings.load_config_from_file(None).distributed_type.value) == "NO"
        several = ["--multi_gpu"] if alone and processes is not None and processes > 1 else []
        return several if processes is None else ["--num_processes", str(processes), *several]
    count = processes or max(import_module("torch").cuda.device_count(), 1)
    # for several processes on a CPU, too: accelerate starts them for this kind alone
    several = ["--multi_gpu"] if count > 1 else []
    plain = ["--num_machines", "1", "--mixed_precision", "no", "--dynamo_backend", "no"]
    return ["--num_processes", str(count), *several, *plain]


def _code_of(error: Exception) -> int:
    """Returns the exit code of the process that failed first. Raises what is no failure of a process again."""
    if (code := getattr(error, "returncode", None)) is not None:  # one process
        return 128 - code if code < 0 else code
    if (signalled := getattr(error, "sigval", None)) is not None:  # several, interrupted
        return 128 + int(signalled)
    if (first := getattr(error, "get_first_failure", None)) is not None:  # several
        code = first()[1].exitcode
        return 128 - code if code < 0 else code
    raise error


def _wait(number: int, frame: object) -> None:
    """Does nothing: an interrupt is for the processes, whose end is waited for."""
