"""The examples of docs/training.md run, and say what they say."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import torch
from helpers.examples import recipes
from helpers.two_texts import TwoTexts

PAGE = (Path(__file__).resolve().parents[3] / "docs" / "training.md").read_text()


def test_the_examples_run_in_order(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    examples = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    assert len(examples) == 13
    exec("\n".join(examples), {"model": TwoTexts(), "held_out": torch.arange(40).view(8, 5) % 2})
    out = capsys.readouterr().out
    assert out.startswith(
        "[('mdlm', 0), ('encoder', 1000), ('prior', 1300)]\n0.25\n16 4096\n0.5\n0.0 1.0\ntable 33\n0.3 0.0\n"
    )
    names = [f"eval_samples_{schedule}_{budget}_nats" for schedule in ("joint", "sequential") for budget in (2, 8)]
    assert f"{names}\nlatents and tokens 4\n" in out and out.endswith("\nTrue\n")


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
