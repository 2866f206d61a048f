"""The commands of docs/training.md change stages as the page says."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

from helpers.examples import recipes

PAGE = (Path(__file__).resolve().parents[3] / "docs" / "training.md").read_text()


def test_its_commands_change_the_stages_that_they_name():
    (block,) = re.findall(r"```bash\n(.*?)```", PAGE, re.DOTALL)
    plans = [recipes.parse_arguments(shlex.split(line)[2:])[-1].stage_plan for line in block.splitlines()]
    assert [plan.starts for plan in plans] == [(0, 450), (0, 100), (0, 300)]
    assert plans[1].stages[0].objective["latent_dropout"] == 0.2
    assert plans[1].stages[0].objective["quantizer_dropout"] == 1.0
