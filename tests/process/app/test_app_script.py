"""`examples/app.py` as a person starts it: it tells its address, serves the page there, and Ctrl-C ends it."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from importlib.util import find_spec
from pathlib import Path

import pytest
from helpers.interrupts import interruptible

ROOT = Path(__file__).resolve().parents[3]

pytestmark = [
    pytest.mark.skipif(
        find_spec("gradio") is None, reason='gradio is not installed: `pip install "ladd_hf[app]"` brings it'
    ),
    pytest.mark.skipif(os.name == "nt", reason="Windows has no interrupt for a single process"),
]


@pytest.fixture
def server(tmp_path):
    """The script in a process group of its own, without a display, a model of its own, or another machine."""
    path = os.pathsep.join([str(ROOT / "src"), *filter(None, [os.environ.get("PYTHONPATH")])])
    environment = {**os.environ, "PYTHONPATH": path, "HF_HUB_OFFLINE": "1"}
    environment.pop("GRADIO_SERVER_NAME", None)
    process = interruptible(
        [sys.executable, ROOT / "examples" / "app.py", "--no-browser", "--cpu"],
        cwd=tmp_path,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    too_long = threading.Timer(120, process.kill)  # its end closes what is read below
    too_long.start()
    yield process
    too_long.cancel()
    process.kill()
    process.communicate()


def test_it_serves_the_page_until_it_is_interrupted_and_leaves_nothing(server):
    said = server.stdout.readline()
    found = re.fullmatch(r"(http://127\.0\.0\.1:\d+/) \(until Ctrl-C\)\n", said)
    assert found, said + server.communicate()[1]
    with urllib.request.urlopen(found[1], timeout=20) as answer:
        assert answer.status == 200 and "Latent-Augmented Discrete Diffusion" in answer.read().decode()

    os.killpg(server.pid, signal.SIGINT)  # as a terminal does
    _, errors = server.communicate(timeout=30)
    assert server.returncode == 130, errors
    assert errors.splitlines()[-1:] == ["ladd: stopped."] and "Traceback" not in errors
    with pytest.raises(ProcessLookupError):  # no process of its group is left
        os.killpg(server.pid, 0)
    with pytest.raises(urllib.error.URLError):
        urllib.request.urlopen(found[1], timeout=5)
