"""The tables of text of the README and of the page on results are those that their scripts left."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path

import numpy
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
}
# Beside MDLM where its samples are as varied: label in a table of one measure, and the run.
VARIED = {
    "Di-LADD sequential": f"{DI} {COOL}",
    "Di-LADD joint": f"{DI} {WAITING}",
    "Co-LADD sequential": f"{CO} {COOL}",
    "Co-LADD joint": f"{CO} {WAITING}",
}
MEASURES = ("entropy", "distinct_4", "self_bleu")


@pytest.fixture(scope="module")
def varied():
    """What was found at equal diversity, by axis, measure, run and number of evaluations."""
    found = json.loads((ROOT / "benchmarks" / "results" / "python-docs-equal-diversity.json").read_text())
    return {(one["axis"], one["measure"], one["run"], one["num_steps"]): one for one in found["at_equal_diversity"]}


def signed(share):
    return f"{share:.0%}".replace("-0%", "0%").replace("-", "−")


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
    (table,) = (block for block in RESULTS.split("```") if "\nevaluations  " in block)
    lines = {re.split(r"  +", line)[0]: re.split(r"  +", line)[1:] for line in table.strip().splitlines()}
    budgets = lines.pop("evaluations")
    for label, scores in found["quality"].items():
        assert lines[label] == [f"{scores[n]['nats']:.4f}" if n in scores else "-" for n in budgets]
    for label, closed in found["comparison"].items():
        assert lines[f"{label} closes"] == [f"{closed[n]:.1%}" if n in closed else "-" for n in budgets]
    (short,) = (block for block in README.split("```") if "\nevaluations  " in block)
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
        cells = ["" if None in at_once else ", ".join(map(signed, at_once)) for at_once in changes]
        assert row(label, cells) in RESULTS


def test_the_samples_that_stand_in_a_column_are_of_nearly_the_same_entropy():
    models = {one["model"]["name"]: one["rows"] for one in result("python-docs-tempered")["models"]}
    for budget in BUDGETS:
        entropies = [
            one["entropy"]
            for _, model, schedule in SCORES["python-docs-tempered"]
            for one in models[model]
            if one["schedule"] == schedule and one["num_steps"] == budget
        ]
        assert len(entropies) == 5 and max(entropies) / min(entropies) < 1.016
    assert "within 1.6% of each other in each column" in RESULTS


@pytest.mark.parametrize(
    ("axis", "measure"), [("nfe", "entropy"), ("flops", "entropy"), *(("nfe", m) for m in MEASURES)]
)
def test_changes_at_equal_diversity_are_those_of_the_result(varied, axis, measure):
    lines = []
    for label, run in VARIED.items():
        found = [varied[axis, measure, run, n] for n in BUDGETS]
        cells = [
            "" if one["baseline"] is None else f"{signed(one['change'])} ± {one['change_stderr']:.0%}" for one in found
        ]
        lines.append(row(label, cells))
    assert "\n".join(lines) in RESULTS


def test_the_readme_tells_the_changes_at_equal_entropy(varied):
    labels = ["perplexity at equal entropy, Di-LADD sequential", *(f"of {label}" for label in [*VARIED][1:])]
    lines = [
        row(label, [signed(varied["nfe", "entropy", run, n]["change"]) for n in BUDGETS])
        for label, run in zip(labels, VARIED.values(), strict=True)
    ]
    assert "\n".join(lines) in README


def test_what_is_said_of_each_measure_of_diversity_holds(varied):
    """Di-LADD is ahead by all of them, Co-LADD at equal entropy; by the others up to 8, and level beyond."""
    runs = [*VARIED.values()]
    for number in BUDGETS:
        assert all(varied["nfe", "entropy", run, number]["change"] < 0 for run in runs)
        for measure in MEASURES[1:]:
            assert all(varied["nfe", measure, run, number]["change"] < 0 for run in runs[:2])
            for one in (varied["nfe", measure, run, number] for run in runs[2:]):
                assert one["change"] < -2 * one["change_stderr"] if number <= 8 else abs(one["change"]) <= 0.05
    distinct = [signed(-varied["nfe", "distinct_4", runs[0], number]["change"]) for number in (4, 32)]
    assert f"ahead by {distinct[0]} at 4 evaluations and {distinct[1]} at 32" in README


def test_four_evaluations_of_di_ladd_are_as_good_as_thirty_two_of_mdlm():
    tempered, mdlm = result("python-docs-tempered")["models"], result("python-docs-temperatures-mdlm")["models"]
    (ours,) = (one for one in tempered[1]["rows"] if (one["schedule"], one["num_steps"]) == (COOL, 4))
    theirs = []
    for measure in ("entropy", "distinct_4"):
        points = sorted((one[measure], one["nats"]) for one in mdlm[0]["rows"] if one["num_steps"] == 32)
        theirs.append(float(numpy.interp(ours[measure], *zip(*points, strict=True))))
        assert abs(theirs[-1] - ours["nats"]) < 0.1
    said = f"Di-LADD scores {ours['nats']:.2f}, MDLM in 32 evaluations {theirs[0]:.2f} at the same entropy, and "
    said += f"{theirs[1]:.2f} at the same share"
    assert said in RESULTS.replace("\n", " ")


def test_the_trainings_of_both_results_are_the_same():
    rows = [
        {
            (seed, row["schedule"], row["num_steps"]): (row["nats"], row["entropy"])
            for seed, one in enumerate(found)
            for row in one["rows"]
        }
        for found in (
            result(name)["by_seed"][MDLM] for name in ("python-docs-tempered", "python-docs-temperatures-mdlm")
        )
    ]
    shared = rows[0].keys() & rows[1].keys()
    assert len(shared) >= 15 and all(rows[0][key] == rows[1][key] for key in shared)


def test_hardly_a_window_of_samples_is_in_the_training_texts():
    """36,900 windows of 24 characters in the samples of each cell: three trainings, 300 samples, 41 windows of each."""
    found = {}
    for model, trainings in result("python-docs-tempered")["by_seed"].items():
        for one in (one for training in trainings for one in training["rows"]):
            key = model, one["schedule"], one["num_steps"]
            found[key] = found.get(key, 0) + round(one["memorized"] * 300 * 41)
    assert {key[2]: count for key, count in found.items() if count} == {8: 1, 16: 1, 32: 3}
    assert {key[:2] for key, count in found.items() if count} == {(DI, COOL)}
