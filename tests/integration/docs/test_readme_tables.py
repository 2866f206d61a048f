"""The tables of text of the README and of the page on results are those that their scripts left."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
README, RESULTS = ((ROOT / name).read_text() for name in ("README.md", "docs/results.md"))
BUDGETS = (2, 4, 8, 16, 32)
MDLM, DI, CO = "python-docs-mdlm-flops", "python-docs-di", "python-docs-co"
COOL = "saved, temperature 0.6, latent_temperature 0.6"
WAITING = "1-1_0.5-0_0-0, steps [3, 1], token_waiting until_known, temperature 0.6, latent_temperature 0.6"
# Rows by file: label, model and schedule of scores, and of changes of perplexity with their axis.
SCORES = {
    "python-docs": [
        ("MDLM, as many training operations", MDLM, "saved"),
        ("MDLM, as many weights", "python-docs-mdlm-parameters", "saved"),
        ("Di-LADD sequential", DI, "saved"),
    ],
    "python-docs-tempered": [
        ("MDLM, as many training operations", MDLM, "saved, temperature 0.8"),
        ("Di-LADD sequential", DI, COOL),
        ("Di-LADD joint, tokens wait for their codes", DI, WAITING),
        ("Co-LADD sequential", CO, COOL),
        ("Co-LADD joint, tokens wait for their latents", CO, WAITING),
    ],
}
CHANGES = {
    "python-docs": [
        ("perplexity, equal evaluations", "nfe", [(DI, "saved")]),
        ("perplexity, equal operations", "flops", [(DI, "saved")]),
        ("perplexity, equal seconds", "seconds", [(DI, "saved")]),
    ],
    "python-docs-tempered": [
        ("perplexity of Di-LADD sequential", "nfe", [(DI, COOL)]),
        ("of Di-LADD joint", "nfe", [(DI, WAITING)]),
        ("of Co-LADD sequential", "nfe", [(CO, COOL)]),
        ("of Co-LADD joint", "nfe", [(CO, WAITING)]),
        ("at equal operations, Di-LADD, Co-LADD sequential", "flops", [(DI, COOL), (CO, COOL)]),
    ],
}


def result(name):
    return json.loads((ROOT / "benchmarks" / "results" / f"{name}_quality.json").read_text())


def row(label, cells):
    return f"| {label} | {' | '.join(cells)} |".replace("|  |", "| |")


# Of the sawtooth, at other budgets and with a digit more.
SAWTOOTH = [
    ("MDLM, tuned", "sawtooth-mdlm", "tuned"),
    ("Di-LADD sequential", "sawtooth-di", "saved"),
    ("Co-LADD sequential", "sawtooth-co", "saved"),
    ("Co-LADD, tuned", "sawtooth-co", "tuned"),
]


def test_scores_of_the_short_recipes_are_those_of_the_result():
    models = {one["model"]["name"]: one["rows"] for one in result("sawtooth")["models"]}
    for label, model, schedule in SAWTOOTH:
        scores = {one["num_steps"]: one for one in models[model] if one["schedule"] == schedule}
        cells = [f"{scores[n]['nats']:.3f} ± {scores[n]['nats_stderr']:.3f}" for n in (2, 3, 4, 6, 8, 16)]
        assert row(label, cells) in RESULTS
    found = {(one["axis"], one["run"], one["num_steps"]): one for one in result("sawtooth")["equal_cost"]}
    for label, model in (("Di-LADD", "sawtooth-di"), ("Co-LADD", "sawtooth-co")):
        closed = [found["nfe", f"{model} tuned", n]["closed_by_seed"] for n in (2, 4, 8)]
        cells = [", ".join(f"{one:.0%}" for one in seeds) for seeds in closed]
        spread = [cell for pair in zip(cells, [""] * 3, strict=True) for cell in pair]
        assert row(f"{label}, tuned, closes at seeds 0, 1, 2", spread) in RESULTS


def test_the_table_of_the_main_job_is_that_of_its_run():
    found = json.loads((ROOT / "benchmarks" / "results" / "sawtooth-di-seed42.json").read_text())
    (table,) = (block for block in RESULTS.split("```") if "\nevaluations " in block)
    lines = {re.split(r"  +", line)[0]: re.split(r"  +", line)[1:] for line in table.strip().splitlines()}
    budgets = lines.pop("evaluations")
    for label, scores in found["quality"].items():
        assert lines[label] == [f"{scores[n]['nats']:.4f}" if n in scores else "-" for n in budgets]
    for label, closed in found["comparison"].items():
        assert lines[f"{label} closes"] == [f"{closed[n]:.1%}" if n in closed else "-" for n in budgets]
    (short,) = (block for block in README.split("```") if "\nevaluations " in block)
    assert set(short.strip().splitlines()) <= set(table.strip().splitlines())


@pytest.mark.parametrize("name", SCORES)
def test_scores_are_those_of_the_result(name):
    models = {one["model"]["name"]: one["rows"] for one in result(name)["models"]}
    for label, model, schedule in SCORES[name]:
        scores = {one["num_steps"]: one for one in models[model] if one["schedule"] == schedule}
        cells = [f"{scores[n]['nats']:.2f} ± {scores[n]['nats_stderr']:.2f}" for n in BUDGETS]
        assert row(label, cells) in RESULTS
        assert name == "python-docs" or row(label, cells) in README


def test_scores_of_co_ladd_at_temperature_1_are_those_of_the_result():
    table = json.loads((ROOT / "benchmarks" / "results" / "python-docs-anchors.json").read_text())["table"]
    ours, mdlm = (
        [table[model][label][str(n)]["nats"] for n in BUDGETS]
        for model, label in ((CO, "Co-LADD sequential"), (MDLM, "MDLM"))
    )
    cells = [f"{one['mean']:.2f} ± {one['stderr']:.2f}" for one in ours]
    assert row("Co-LADD sequential", cells) in RESULTS
    pairs = zip(ours, mdlm, strict=True)
    changes = [f"{math.exp(one['mean'] - other['mean']) - 1:+.0%}".replace("-", "−") for one, other in pairs]
    assert row("of Co-LADD, equal evaluations", changes) in RESULTS


@pytest.mark.parametrize("name", CHANGES)
def test_changes_are_those_of_the_result(name):
    found = {(one["axis"], one["run"], one["num_steps"]): one["change"] for one in result(name)["equal_cost"]}
    for label, axis, runs in CHANGES[name]:
        changes = [[found.get((axis, f"{model} {schedule}", n)) for model, schedule in runs] for n in BUDGETS]
        cells = [
            "" if None in at_once else ", ".join(f"{one:.0%}".replace("-0%", "0%").replace("-", "−") for one in at_once)
            for at_once in changes
        ]
        assert row(label, cells) in RESULTS
        assert name == "python-docs" or row(label, cells) in README


def test_the_samples_that_are_compared_are_equally_rich():
    models = {one["model"]["name"]: one["rows"] for one in result("python-docs-tempered")["models"]}
    for budget in BUDGETS:
        entropies = [
            one["entropy"]
            for _, model, schedule in SCORES["python-docs-tempered"]
            for one in models[model]
            if one["schedule"] == schedule and one["num_steps"] == budget
        ]
        assert len(entropies) == 5 and max(entropies) / min(entropies) < 1.016
    assert all("1.6% of each other in each column" in page.replace("\n", " ") for page in (README, RESULTS))
