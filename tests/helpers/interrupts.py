"""Processes that an interrupt reaches, also where the tests themselves run in the background, which ignores it."""

from __future__ import annotations

import signal
import subprocess


def interruptible(command, **options):
    """Starts a process as `subprocess.Popen` in a process group of its own, in which Ctrl-C is not ignored."""
    ours = signal.signal(signal.SIGINT, signal.SIG_DFL)  # what is ignored stays so in processes that are started
    try:
        return subprocess.Popen(command, start_new_session=True, **options)
    finally:
        signal.signal(signal.SIGINT, ours)
