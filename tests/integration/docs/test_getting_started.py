"""The first pages run as printed, in an empty folder and with no name that they do not define."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
PAGE = (ROOT / "docs" / "getting_started.md").read_text()


def test_its_block_runs_as_printed(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (block,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    names: dict[str, object] = {}
    exec(block, names)
    assert names["trainer"].state.global_step == 30
    assert names["output"].nfe == 8 and names["output"].sequences.shape == (4, 32)


def test_its_commands_name_what_there_is():
    commands = " ".join(re.findall(r"```bash\n(.*?)```", PAGE, re.DOTALL))
    files = [word for word in shlex.split(commands) if word.endswith((".py", ".txt"))]
    assert len(files) == 2 and all((ROOT / name).is_file() for name in files)
