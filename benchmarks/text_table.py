"""The table of text: recipes trained at several seeds, and the scores of their samples by evaluations, mean and error.

Each recipe and seed is a run of `examples/train_ladd.py` in a process of its own, one after the other, in the folder
`FOLDER/RECIPE-SEED` and with its output in `FOLDER/RECIPE-SEED.log`. A run whose `results.json` is complete is not
repeated, so that the command, given again, goes on where it was stopped; one that was cut off is begun anew.

    python benchmarks/text_table.py out/text-table --seeds 0 1 2 --json benchmarks/results/text_table.json
    python benchmarks/text_table.py out/text-table --no_training      # the table of the runs that are there

Other flags are passed to the example, such as `--num_samples 1000`.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from ladd_hf.cli.recipe_files import read_recipe

ROOT = Path(__file__).resolve().parent.parent
CONFIGS = ROOT / "examples" / "configs"

RECIPES = ("python-docs-di", "python-docs-co", "python-docs-mdlm-flops", "python-docs-mdlm-longer")
REQUEST = "request.json"  # beside a run's results: recipe and flags that they belong to

Scores = Mapping[str, Mapping[str, Mapping[str, float]]]  # of a run: label, evaluations, number


@dataclass(frozen=True)
class Run:
    """A recipe at a seed, with the flags of all runs, and its folder."""

    recipe: str
    seed: int
    flags: tuple[str, ...]
    folder: Path

    @property
    def name(self) -> str:
        """Name of the folder."""
        return self.folder.name

    @property
    def request(self) -> dict[str, Any]:
        """All that determines the results, but for rounding."""
        return {"settings": read_recipe(CONFIGS / f"{self.recipe}.yaml"), "seed": self.seed, "flags": [*self.flags]}

    def results(self) -> dict[str, Any] | None:
        """Returns the results, or `None` for a run that is missing or was cut off.

        Raises `SystemExit` for those of other settings or flags.
        """
        try:
            results = json.loads((self.folder / "results.json").read_text())
            request = json.loads((self.folder / REQUEST).read_text())
        except (FileNotFoundError, json.JSONDecodeError):
            return None
        if request != self.request:
            raise SystemExit(
                f"{self.folder} holds a run of other settings ({_difference(request, self.request)}): give another "
                "folder, or move that one."
            )
        return results

    def train(self, threads: int) -> dict[str, Any]:
        """Trains in a process of its own; returns the results. Raises `SystemExit` with the end of its output."""
        command = [sys.executable, "-m", "accelerate.commands.launch", "examples/train_ladd.py"]
        command += ["--config", str(CONFIGS / f"{self.recipe}.yaml"), "--baseline", "false", "--start_anew", "true"]
        command += ["--seed", str(self.seed), "--cpu_threads", str(threads), *self.flags]
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / REQUEST).unlink(missing_ok=True)
        log = self.folder.with_name(f"{self.name}.log")
        with log.open("w") as output:
            process = subprocess.run(
                [*command, "--output_dir", str(self.folder.absolute())], cwd=ROOT, stdout=output, stderr=output
            )
        if process.returncode:
            raise SystemExit(f"The run {self.name} ended with an error; {log} ends with\n{log.read_text()[-2000:]}")
        (self.folder / REQUEST).write_text(json.dumps(self.request))
        return cast(dict[str, Any], self.results())


def _difference(found: Mapping[str, Any], asked: Mapping[str, Any]) -> str:
    """Describes the first setting that differs."""
    for name in ("seed", "flags"):
        if found.get(name) != asked[name]:
            return f"`{name}` {found.get(name)}, not {asked[name]}"
    before, now = found.get("settings", {}), asked["settings"]
    name = next(one for one in sorted(before | now) if before.get(one) != now.get(one))
    return f"`{name}` {before.get(name)!r}, and the recipe now has {now.get(name)!r}"


def trained(runs: Sequence[Run], threads: int) -> Iterator[tuple[Run, dict[str, Any]]]:
    """Yields each run with its results, trained if they are not there."""
    for run in runs:
        results = run.results()
        if results is None:
            print(f"{run.name} ...", file=sys.stderr, flush=True)
            results = run.train(threads)
        yield run, results


def there(runs: Sequence[Run]) -> Iterator[tuple[Run, dict[str, Any]]]:
    """Yields the runs that have results, and trains nothing."""
    for run in runs:
        if (results := run.results()) is not None:
            yield run, results


@dataclass(frozen=True)
class Score:
    """A number over seeds.

    Attributes:
        by_seed: its values.
        mean: theirs.
        stderr: standard error of the mean; `None` of a single seed.
    """

    by_seed: dict[int, float]
    mean: float
    stderr: float | None

    @classmethod
    def of(cls, by_seed: Mapping[int, float]) -> Score:
        """Returns mean and standard error of values by seed, at least one."""
        values = list(by_seed.values())
        stderr = statistics.stdev(values) / math.sqrt(len(values)) if len(values) > 1 else None
        return cls(dict(by_seed), statistics.fmean(values), stderr)

    def __str__(self) -> str:
        return f"{self.mean:.2f}" + (f" ± {self.stderr:.2f}" if self.stderr is not None else "")


def summarized(scores: Mapping[Run, Scores]) -> dict[str, dict[str, dict[str, dict[str, Score]]]]:
    """Returns the scores of runs over their seeds, by recipe, label, evaluations and number."""
    values: dict[tuple[str, str, str, str], dict[int, float]] = {}
    for run, labels in scores.items():
        for label, budgets in labels.items():
            for evaluations, numbers in budgets.items():
                for number, value in numbers.items():
                    values.setdefault((run.recipe, label, evaluations, number), {})[run.seed] = value
    table: dict[str, dict[str, dict[str, dict[str, Score]]]] = {}
    for (recipe, label, evaluations, number), by_seed in values.items():
        row = table.setdefault(recipe, {}).setdefault(label, {})
        row.setdefault(evaluations, {})[number] = Score.of(by_seed)
    return table


def table_rows(table: Mapping[str, Any], number: str = "nats") -> list[str]:
    """Formats the Markdown table of one number: a row for each recipe and label, a column for each number of
    evaluations."""
    columns = sorted({int(n) for labels in table.values() for row in labels.values() for n in row})
    lines = [f"| {number} | seeds | {' | '.join(map(str, columns))} |", "| --- " * (len(columns) + 2) + "|"]
    for recipe, labels in table.items():
        for label, row in labels.items():
            found = {n: row[str(n)][number] for n in columns if number in row.get(str(n), {})}
            if found:
                seeds = max(len(score.by_seed) for score in found.values())
                cells = [str(found.get(n, "")) for n in columns]
                lines.append(f"| {label}, `{recipe}` | {seeds} | {' | '.join(cells)} |")
    return lines


def written(table: Mapping[str, Any], results: Mapping[Run, Mapping[str, Any]]) -> str:
    """Returns the table and the circumstances of each run as JSON."""
    names = ("facts", "seconds", "reference", "bounds")
    runs = {run.name: {name: one[name] for name in names} for run, one in results.items()}
    flags = [*next(iter(results)).flags] if results else []
    return json.dumps({"flags": flags, "table": table, "runs": runs}, indent=1, default=vars) + "\n"


def main() -> None:
    """Prints a table of nats and one of entropy; writes all numbers as JSON after each run if requested."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0], allow_abbrev=False)
    parser.add_argument("folder", type=Path, help="holds a folder for each run")
    parser.add_argument("--recipes", nargs="+", default=[*RECIPES], help="names in examples/configs")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--threads", type=int, default=0, help="of each run; 0: all cores")
    parser.add_argument("--no_training", action="store_true", help="print the table of the runs that are there")
    parser.add_argument("--json", type=Path)
    options, flags = parser.parse_known_args()
    if unknown := [name for name in options.recipes if not (CONFIGS / f"{name}.yaml").is_file()]:
        parser.error(f"There are no recipes {unknown} in {CONFIGS}; give names such as {RECIPES[0]!r}.")
    runs = [
        Run(recipe, seed, tuple(flags), options.folder / f"{recipe}-{seed}")
        for seed in options.seeds
        for recipe in options.recipes
    ]
    results: dict[Run, dict[str, Any]] = {}
    for run, found in there(runs) if options.no_training else trained(runs, options.threads):
        results[run] = found
        if options.json:  # after each run, so that a later failure loses nothing
            options.json.write_text(written(summarized({one: got["quality"] for one, got in results.items()}), results))
    table = summarized({run: found["quality"] for run, found in results.items()})
    for number in ("nats", "entropy"):
        print("\n".join(table_rows(table, number)) + "\n", flush=True)


if __name__ == "__main__":
    main()
