"""The commands of docs/training.md are understood."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

from helpers.examples import recipes

PAGE = (Path(__file__).resolve().parents[3] / "docs" / "training.md").read_text()


def test_its_commands_are_understood():
    (block,) = re.findall(r"```bash\n(.*?)```", PAGE, re.DOTALL)
    flags = [shlex.split(line)[3:] for line in block.splitlines()]
    root = Path(__file__).resolve().parents[3]
    plans = []
    for argv in flags:
        argv = [str(root / one) if one.endswith(".yaml") else one for one in argv]
        plans.append(recipes.parse_arguments(argv)[-1].stage_plan)
    assert [plan.starts for plan in plans] == [(0, 450), (0, 100), (0, 300)]
    assert plans[1].stages[0].objective["latent_dropout"] == 0.2
    assert plans[1].stages[0].objective["quantizer_dropout"] == 1.0
