"""The tables of ablations are what their script found, and each of its rows is one of its own."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from statistics import mean, stdev

import pytest

ROOT = Path(__file__).resolve().parents[3]
PAGE = (ROOT / "docs" / "ablations.md").read_text()


def script(name: str):
    spec = importlib.util.spec_from_file_location(name, ROOT / "benchmarks" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def table(head: str) -> list[str]:
    """The rows of the page's table under these two lines."""
    first, second = head.splitlines()
    lines = PAGE.splitlines()
    start = lines.index(first)
    assert lines[start + 1] == second
    return lines[start + 2 : lines.index("", start)]


@pytest.mark.parametrize("question", ["latents", "samples", "continuous"])
def test_a_table_holds_what_was_found_and_nothing_else(question):
    ablations = script("text_ablations")
    found = json.loads((ROOT / "benchmarks" / "results" / f"text_{question}.json").read_text())
    rows = {ablations.table_row(question, row, outcome) for row, outcome in found.items()}
    assert set(table(ablations.HEADS[question])) == rows and len(rows) > 4
    assert all(outcome["flags"] == ablations.CHANGES[question][row] for row, outcome in found.items())


def test_the_table_over_three_seeds_holds_what_was_found():
    found = {**result("text_continuous_seeds"), "42": result("text_continuous")}
    rows = []
    for row in found["0"]:
        assert all(one[row]["flags"] == found["42"][row]["flags"] for one in found.values())
        sequential, cells = [list(one[row]["quality"].values())[-1] for one in found.values()], []
        for budget in sequential[0]:
            nats = [scores[budget]["nats"] for scores in sequential]
            cells.append(f"{mean(nats):.2f} ± {stdev(nats) / len(nats) ** 0.5:.2f}")
        rows.append(f"| {row} | {' | '.join(cells)} |")
    assert table("| over three seeds | 2 | 4 | 8 | 16 |\n" + "| --- " * 5 + "|") == rows and len(found) == 3


def result(name: str):
    return json.loads((ROOT / "benchmarks" / "results" / f"{name}.json").read_text())


@pytest.mark.parametrize("name", ["text_sampling", "text_sampling_continuous"])
def test_the_table_of_sampling_holds_what_was_found(name):
    sampling, found = script("text_sampling"), result(name)
    budgets = found["budgets"]
    head = (
        f"| pipeline | sampling | {' | '.join(map(str, budgets))} | entropy |\n" + "| --- " * (len(budgets) + 3) + "|"
    )
    rows = {sampling.table_row(name, outcome["quality"], budgets) for name, outcome in found["rows"].items()}
    assert set(table(head)) == rows and len(rows) > 4
    assert all(o["settings"] == sampling.CHANGES[name.split(" | ")[1]] for name, o in found["rows"].items())


def test_the_table_of_sampling_anchors_holds_what_was_found():
    sampling, found = script("text_sampling"), result("text_sampling_anchors")
    budgets = found["budgets"]
    head = (
        f"| sampling of anchors | {' | '.join(map(str, budgets))} | entropy |\n" + "| --- " * (len(budgets) + 2) + "|"
    )
    rows = [sampling.table_row(name, one["quality"], budgets) for name, one in found["rows"].items()]
    assert table(head) == [one.replace("| co-ladd | ", "| ") for one in rows] and len(rows) > 4
    assert all(one["settings"] == sampling.CHANGES[name.split(" | ")[1]] for name, one in found["rows"].items())


def test_the_table_of_temperatures_holds_what_was_found():
    head = "| model | temperatures | 2 | 4 | 8 | 16 | 32 | entropy at 2 | from 4 on |\n" + "| --- " * 9 + "|"
    rows = []
    for name in ("mdlm", "di", "di-joint", "co"):
        (model,) = json.loads((ROOT / "benchmarks" / "results" / f"temperatures-{name}.json").read_text())["models"]
        assert model["settings"]["seed"] == 42
        for number, schedule in enumerate(model["settings"]["schedules"]):
            runs = model["rows"][5 * number : 5 * number + 5]
            assert [run["num_steps"] for run in runs] == [2, 4, 8, 16, 32]
            assert schedule.get("latent_temperature", schedule["temperature"]) == schedule["temperature"]
            first, *later = (run["entropy"] for run in runs)
            ends = [f"{first:.2f}", f"{min(later):.2f} to {max(later):.2f}"]
            rows.append([str(schedule["temperature"]), *(f"{run['nats']:.2f}" for run in runs), *ends])
    assert [row.strip("| ").split(" | ")[1:] for row in table(head)] == rows


def test_the_table_of_evaluations_of_the_latents_holds_what_was_found():
    steps, found = script("latent_steps"), result("latent_steps")
    numbers = [str(number) for number in found["latent_steps"]]
    head = f"| pipeline | drawn anew | {' | '.join(numbers)} | entropy |\n" + "| --- " * (len(numbers) + 3) + "|"
    rows = [steps.table_row(name, *one) for name, shares in found["pipelines"].items() for one in shares.items()]
    assert table(head) == rows


def test_the_table_of_paths_holds_what_was_found():
    names = ["sequential", "1-1_0.9-0_0-0", "1-1_0.5-0_0-0", "joint"]
    both, recipe = (model["bounds"] for model in result("python-docs-paths")["models"])
    head = (
        "| trained on | sequential | (1, 1), (0.9, 0), (0, 0) | (1, 1), (0.5, 0), (0, 0) | joint |\n"
        + "| --- " * 5
        + "|"
    )
    rows = [
        " | ".join([f"| {label}", *(f"{bounds[name]['nats_per_token']:.3f}" for name in names)]) + " |"
        for label, bounds in (("the recipe", recipe), ("the diagonal, too", both))
    ]
    assert table(head) == rows


def test_the_table_of_tuned_paths_holds_what_was_found():
    (model,) = result("python-docs-tuned")["models"]
    head = "| path | 2 | 4 | 8 | 16 | 32 |\n" + "| --- " * 6 + "|"
    scores = {}
    for row in model["rows"]:
        scores.setdefault(row["schedule"], []).append(f"{row['nats']:.2f}")
    assert scores["tuned"] == scores.pop("tuned that waits"), "codes come first"
    assert table(head) == [f"| {name} | {' | '.join(cells)} |" for name, cells in scores.items()]


def test_the_table_of_bounds_of_text_holds_what_was_found():
    rows = []
    for name, label in (("mdlm", "MDLM, as many training operations"), ("di-ladd", "Di-LADD"), ("co-ladd", "Co-LADD")):
        (model,) = (
            one
            for file in ("python-docs-bounds", "python-docs-bounds-mdlm")
            for one in result(file)["models"]
            if one["model"]["name"] == name and "bound" in one["rows"][0]
        )
        cells = [
            f"{one[key]:.3f} ± {one[f'{key}_stderr']:.3f}"
            for one in model["rows"]
            for key in ("bound", "marginal_bound")
        ]
        rows.append(f"| {label} | {' | '.join(cells)} |")
    head = "| model | bound, 4 | marginalised, 4 | bound, 8 | marginalised, 8 |\n" + "| --- " * 5 + "|"
    assert table(head) == rows


def test_the_table_of_a_pretrained_encoder_holds_what_was_found():
    budgets = ["1", "2", "4", "8", "16", "32"]
    quality = result("python-docs-co-minilm-seed42")["quality"] | result("python-docs-di-minilm-seed42")["quality"]
    rows = {
        (name, *(f"{scores[n]['nats']:.2f}" if n in scores else "" for n in budgets))
        for name, scores in quality.items()
    }
    head = f"| all-MiniLM-L6-v2 | {' | '.join(budgets)} |\n" + "| --- " * 7 + "|"
    assert {tuple(cell.strip() for cell in row.strip("|").split("|")) for row in table(head)} == rows


def test_the_table_of_the_gpu_holds_what_was_found():
    found = json.loads((ROOT / "benchmarks" / "results" / "python-docs-gpu-di-seed42.json").read_text())["quality"]
    budgets = list(found["MDLM"])
    rows = {
        (name + suffix, *(f"{scores[n][score]:.2f}" if n in scores else "" for n in budgets))
        for name, scores in found.items()
        for score, suffix in (("nats", ""), ("entropy", ", entropy"))
    }
    head = f"| evaluations | {' | '.join(budgets)} |\n" + "| --- " * (len(budgets) + 1) + "|"
    assert {tuple(cell.strip() for cell in row.strip("|").split("|")) for row in table(head)} == rows


def test_the_table_of_latents_alone_holds_what_was_found():
    names = ("python-docs-di-alone-seed42", "python-docs-di-seed42-again", "python-docs-di-alone-costs")
    alone, beside, costs = map(result, names)
    flops = {
        one["model"]["name"]: {str(row["num_steps"]): row["flops"] for row in one["rows"]} for one in costs["models"]
    }
    rows = {
        "MDLM": (alone["quality"]["MDLM"], "python-docs-di/mdlm"),
        "Di-LADD, latents beside tokens": (beside["quality"]["Di-LADD sequential"], "python-docs-di/di-ladd"),
        "Di-LADD, latents alone": (alone["quality"]["Di-LADD sequential"], "python-docs-di-alone/di-ladd"),
    }
    cells = {
        label: [f"{scores[n]['nats']:.2f}, {flops[name][n] / 1e6:.0f}" for n in ("2", "4", "8", "16", "32")]
        for label, (scores, name) in rows.items()
    }
    section = PAGE.partition("## Latents without tokens\n")[2].partition("\n## ")[0]
    for label, found in cells.items():
        assert f"| {label} | {' | '.join(found)} |" in section
