"""The table of text goes on where it was stopped, mixes no runs of different settings, and averages over seeds."""

from __future__ import annotations

import importlib.util
import json
import statistics
import sys
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace

import pytest

ROOT = Path(__file__).resolve().parents[3]


def load_script():
    spec = importlib.util.spec_from_file_location("text_table", ROOT / "benchmarks" / "text_table.py")
    module = sys.modules["text_table"] = importlib.util.module_from_spec(spec)  # its dataclasses look there
    spec.loader.exec_module(module)
    return module


SCRIPT = load_script()
RECIPES = ("python-docs-di", "python-docs-mdlm")


def nats(recipe, seed, evaluations):
    """Scores of no run: different everywhere."""
    return 2.0 + len(recipe) / 100 + seed**2 / 10 + 1 / evaluations


@pytest.fixture
def example(monkeypatch):
    """The commands of the example's runs, each of which writes results at once."""
    commands = []

    def run(command, cwd, stdout, stderr):
        commands.append(command)
        flags = dict(pairwise(command))
        recipe, seed = Path(flags["--config"]).stem, int(flags["--seed"])
        label = "MDLM" if "mdlm" in recipe else "Di-LADD sequential"
        budgets = [2, 16] if label == "MDLM" else [2, 4]
        scores = {str(n): {"nats": nats(recipe, seed, n), "entropy": 2.5} for n in budgets}
        results = {"quality": {label: scores}, "facts": {"seed": str(seed)}, "seconds": {}, "reference": {}}
        (Path(flags["--output_dir"]) / "results.json").write_text(json.dumps(results | {"bounds": {}}))
        stdout.write("as the example\n")
        return SimpleNamespace(returncode=0)

    monkeypatch.setattr(SCRIPT.subprocess, "run", run)
    return commands


@pytest.fixture
def table(monkeypatch, capsys, tmp_path):
    """`table(*flags)`: what is printed of runs of two recipes in a folder, and what is written."""

    def table(*flags):
        options = ["--recipes", *RECIPES, "--json", tmp_path / "x.json", *flags]
        monkeypatch.setattr("sys.argv", ["text_table.py", str(tmp_path / "runs"), *map(str, options)])
        SCRIPT.main()
        return capsys.readouterr().out, json.loads((tmp_path / "x.json").read_text())

    return table


def test_each_recipe_is_trained_at_each_seed_without_its_baseline(example, table, tmp_path):
    table("--seeds", 3, 4, "--threads", 1, "--num_samples", 7)
    assert len(example) == 4
    for command in example:
        flags = dict(pairwise(command))
        run = f"{Path(flags['--config']).stem}-{flags['--seed']}"
        assert flags["--output_dir"] == str(tmp_path / "runs" / run)
        assert (flags["--baseline"], flags["--cpu_threads"], flags["--num_samples"]) == ("false", "1", "7")
        assert (tmp_path / "runs" / f"{run}.log").read_text() == "as the example\n"


def test_scores_are_means_over_seeds_with_their_standard_errors(example, table):
    printed, found = table("--seeds", 0, 1, 2)
    for recipe, label, n in (("python-docs-mdlm", "MDLM", 16), ("python-docs-di", "Di-LADD sequential", 4)):
        values = [nats(recipe, seed, n) for seed in (0, 1, 2)]
        score = found["table"][recipe][label][str(n)]["nats"]
        assert score["by_seed"] == {str(seed): value for seed, value in enumerate(values)}
        assert score["mean"] == pytest.approx(statistics.mean(values))
        assert score["stderr"] == pytest.approx((sum((v - score["mean"]) ** 2 for v in values) / 2 / 3) ** 0.5)
        assert f"{score['mean']:.2f} ± {score['stderr']:.2f}" in printed
    head = printed.splitlines()[0]
    assert head == "| nats | seeds | 2 | 4 | 16 |"
    (mdlm,) = (line for line in printed.splitlines() if line.startswith("| MDLM") and "2.50" not in line)
    assert mdlm.split(" | ")[1] == "3" and mdlm.split(" | ")[3] == "", "no score at 4"


def test_of_one_seed_there_is_no_error(example, table):
    printed, found = table("--seeds", 5)
    assert found["table"]["python-docs-mdlm"]["MDLM"]["2"]["nats"]["stderr"] is None
    assert "±" not in printed


def test_a_complete_run_is_not_repeated_and_one_that_was_cut_off_is(example, table, tmp_path):
    first, _ = table("--seeds", 0, 1)
    (tmp_path / "runs" / "python-docs-di-1" / "results.json").write_text('{"quality": {"MD')
    example.clear()
    assert table("--seeds", 0, 1)[0] == first
    (command,) = example
    flags = dict(pairwise(command))
    assert (Path(flags["--config"]).stem, flags["--seed"], flags["--start_anew"]) == ("python-docs-di", "1", "true")


def test_what_is_done_is_written_before_a_later_run_fails(example, table, tmp_path, monkeypatch):
    works = SCRIPT.subprocess.run

    def fails_at_seed_1(command, **options):
        if command[command.index("--seed") + 1] == "1":
            options["stdout"].write("the disk is full")
            return SimpleNamespace(returncode=1)
        return works(command, **options)

    monkeypatch.setattr(SCRIPT.subprocess, "run", fails_at_seed_1)
    with pytest.raises(SystemExit, match=r"python-docs-di-1 ended with an error; .* ends with\nthe disk is full"):
        table("--seeds", 0, 1)
    assert set(json.loads((tmp_path / "x.json").read_text())["runs"]) == {f"{recipe}-0" for recipe in RECIPES}


def test_runs_with_other_flags_or_of_a_recipe_that_was_changed_are_not_mixed(example, table, tmp_path):
    table("--seeds", 0)
    with pytest.raises(SystemExit, match=r"python-docs-di-0 holds a run of other settings \(`flags` \[\], not \['--x'"):
        table("--seeds", 0, "--x", 1)
    request = tmp_path / "runs" / "python-docs-di-0" / "request.json"
    changed = json.loads(request.read_text())
    changed["settings"]["max_steps"] = 9
    request.write_text(json.dumps(changed))
    with pytest.raises(SystemExit, match="`max_steps` 9, and the recipe now has 3000"):
        table("--seeds", 0)


def test_the_table_of_what_is_there_trains_nothing(example, table):
    table("--seeds", 0)
    example.clear()
    printed, found = table("--seeds", 0, 1, "--no_training")
    assert not example and set(found["runs"]) == {f"{recipe}-0" for recipe in RECIPES}
    assert "±" not in printed and "| MDLM, `python-docs-mdlm` | 1 |" in printed


def test_an_unknown_recipe_is_refused_before_anything_is_trained(example, table, capsys):
    with pytest.raises(SystemExit):
        table("--recipes", "python-docs-di", "poems")
    assert not example and "There are no recipes ['poems'] in" in capsys.readouterr().err
