"""Tries an installed command, given by its path, in the working directory: the included pipeline writes, and a file of
texts becomes a pipeline that writes, too."""

import json
import re
import subprocess
import sys
from pathlib import Path

TINY = (
    *("--length", "16", "--hidden_size", "32", "--num_hidden_layers", "1", "--max_steps", "4", "--warmup_steps", "1"),
    *("--per_device_train_batch_size", "4", "--num_samples", "8", "--budgets", "2", "--num_eval_sequences", "4"),
    *("--use_cpu", "--cpu_threads", "1"),
)


def ladd(*words: str) -> str:
    """Runs the command; returns what it printed."""
    done = subprocess.run([sys.argv[1], *words], capture_output=True, text=True, encoding="utf-8")
    assert done.returncode == 0, f"ladd {' '.join(words)} ended with {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def written(model: str) -> str:
    """Returns a text that a model wrote in four evaluations, and checks what the document says of it."""
    found = json.loads(ladd("generate", model, "--steps", "4", "--seed", "1", "--json", "--cpu"))
    assert (found["model"], found["seed"], found["nfe"], len(found["samples"])) == (model, 1, 4, 1), found
    return found["samples"][0]["text"]


assert re.fullmatch("[a-z ]{64}", written("python-docs-di"))
lines = [f"On day {n} the cat saw {n * n} birds near the {('hill', 'lake', 'road')[n % 3]}." for n in range(200)]
Path("my.txt").write_text("\n".join(lines), encoding="utf-8")
ladd("train", "--data", "my.txt", *TINY)
assert isinstance(written("out/own-texts/di-ladd"), str)
print("ladd generate and ladd train work.")
