"""The first page names files that there are."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
PAGE = (ROOT / "docs" / "getting_started.md").read_text()


def test_its_commands_name_what_there_is():
    commands = " ".join(re.findall(r"```bash\n(.*?)```", PAGE, re.DOTALL))
    files = [word for word in shlex.split(commands) if word.endswith((".py", ".txt"))]
    assert len(files) == 2 and all((ROOT / name).is_file() for name in files)
