"""Comparison at equal cost, and the tables that show it."""

from __future__ import annotations

import json
import math
import re
from dataclasses import replace

import pytest
from helpers.evaluations import results_of
from hypothesis import given
from hypothesis import strategies as st

from ladd_hf.evaluation import compared, markdown_report
from ladd_hf.evaluation.changes import Score
from ladd_hf.evaluation.equal_cost import interpolated
from ladd_hf.evaluation.plots import quality_figure
from ladd_hf.pictures.drawing import BASELINE, colour

MDLM = results_of("mdlm", [("joint", 2, 10.0e6, 2.0), ("joint", 4, 20.0e6, 1.6), ("joint", 8, 40.0e6, 1.5)])
OURS = results_of(
    "ours", [("tuned", 1, 5.0e6, 1.9), ("tuned", 2, 20.0e6, 1.4), ("tuned", 4, 28.284271e6, 1.3), ("tuned", 8, 9e7, 1)]
)


@given(
    st.lists(st.floats(1.0, 1e12), min_size=2, max_size=6, unique=True).map(sorted),
    st.floats(-5, 5),
    st.floats(-5, 5),
    st.floats(0, 1),
)
def test_interpolation_is_exact_for_scores_that_are_linear_in_the_logarithm(costs, slope, offset, share):
    def score(cost):
        return offset + slope * math.log(cost)

    cost = min(max(costs[0] ** (1 - share) * costs[-1] ** share, costs[0]), costs[-1])
    assert interpolated([(one, score(one)) for one in costs], cost) == pytest.approx(score(cost), rel=1e-6, abs=1e-6)


def test_beyond_its_ends_the_baseline_is_unknown_and_at_its_points_it_is_itself():
    points = [(1.0, 3.0), (10.0, 2.0)]
    assert [interpolated(points, cost) for cost in (0.5, 1.0, 10.0, 11.0)] == [None, 3.0, 2.0, None]
    assert interpolated([(4.0, 1.0)], 4.0) == 1.0 and interpolated([], 4.0) is None


def test_the_baseline_is_read_at_the_cost_of_each_run():
    comparison = compared([MDLM, OURS])
    assert comparison.baseline() == "mdlm joint"
    runs = comparison.at_equal_cost("flops", "ours tuned")
    assert [run.num_steps for run in runs] == [1, 2, 4, 8]
    assert [run.beyond for run in runs] == ["below", None, None, "above"]
    assert [run.baseline for run in runs] == [None, 1.6, pytest.approx(1.55), None]
    assert runs[1].change.value == pytest.approx(math.exp(-0.2) - 1)


def test_the_baselines_error_is_never_below_that_of_any_dependence_between_its_two_runs():
    """Between two runs the score is (1 - w) a + w b, whose error is largest where those of a and b go together."""
    mdlm = replace(MDLM, rows=[dict(row) for row in MDLM.rows])
    for row, error in zip(mdlm.rows, (0.4, 0.1, 0.2), strict=True):
        row["nats_stderr"] = error
    below, at, between, above = compared([mdlm, OURS]).at_equal_cost("flops", "ours tuned")
    assert [one.baseline_stderr for one in (below, at, above)] == [None, 0.1, None]
    assert between.baseline_stderr == pytest.approx(0.15)  # halfway between 20 and 40 MFLOPs, by logarithm
    assert between.baseline_stderr >= math.hypot(0.5 * 0.1, 0.5 * 0.2) and between.score_stderr == 0.01
    del mdlm.rows[2]["nats_stderr"]
    at, between = compared([mdlm, OURS]).at_equal_cost("flops", "ours tuned")[1:3]
    assert at.baseline_stderr == 0.1 and between.baseline_stderr is None and between.baseline is not None


def test_the_comparisons_are_json_with_their_errors_and_changes():
    comparison = compared([MDLM, OURS])
    data = json.loads(json.dumps(comparison.equal_cost_data()))
    assert [one["axis"] for one in data] == ["nfe"] * 4 + ["flops"] * 4
    of_flops, runs = data[4:], comparison.at_equal_cost("flops", "ours tuned")
    assert [one["baseline_stderr"] for one in of_flops] == [run.baseline_stderr for run in runs]
    assert {(one["run"], one["against"]) for one in data} == {("ours tuned", "mdlm joint")}
    assert of_flops[0]["change"] is None and of_flops[0]["change_stderr"] is None
    assert of_flops[1]["change"] == runs[1].change.value and of_flops[1]["score_stderr"] == 0.01
    assert of_flops[1]["change_stderr"] == runs[1].change.stderr > 0
    assert of_flops[1]["closed"] == pytest.approx(0.2 / 0.35)  # of the distance from 1.6 to 1.25


def test_of_an_exact_judge_the_change_is_the_share_of_the_distance_that_is_closed():
    exact = compared([results_of("a", [("joint", 2, 5.0, 1.75)], exact=True)])
    assert exact.change(Score(1.75), Score(1.5)).value == pytest.approx(0.5)
    assert exact.change(Score(1.25), Score(1.5)) is None
    other = compared([results_of("a", [("joint", 2, 5.0, 1.75)], metric="entropy")])
    assert other.change(Score(2.0), Score(1.5)).value == pytest.approx(-0.25)
    assert other.change(Score(0.0), Score(1.5)) is None


def test_a_named_baseline_is_what_others_are_compared_with_wherever_it_stands():
    comparison = compared([MDLM, OURS], "ours tuned")
    assert comparison.baseline() == "ours tuned" and comparison.baseline_model is OURS
    assert set(comparison.all_at_equal_cost("nfe")) == {"mdlm joint"}
    (first, *_) = comparison.at_equal_cost("nfe", "mdlm joint")
    assert (first.baseline, first.score) == (1.4, 2.0) and first.change.value == pytest.approx(math.exp(0.6) - 1)
    assert "| ours tuned there |" in markdown_report(comparison)
    assert {one["against"] for one in comparison.equal_cost_data()} == {"ours tuned"}
    two = results_of("mdlm", [("joint", 2, 5.0, 2.0), ("tuned", 2, 5.0, 1.8)])
    assert set(compared([two], "mdlm tuned").all_at_equal_cost("nfe")) == {"mdlm joint"}
    with pytest.raises(ValueError, match=r"'mdlm tuned' is no model with one of its .* \['mdlm joint', 'ours tuned'\]"):
        compared([MDLM, OURS], "mdlm tuned")


def test_a_named_baseline_is_grey_in_the_plot():
    def colours(comparison):
        bars = quality_figure(comparison).axes[0].containers
        return {bar.get_label(): bar.lines[0].get_color() for bar in bars}

    assert colours(compared([MDLM, OURS])) == {"mdlm joint": BASELINE, "ours tuned": colour(0)}
    assert colours(compared([MDLM, OURS], "ours tuned")) == {"mdlm joint": colour(0), "ours tuned": BASELINE}


def test_rows_without_a_score_or_whose_operations_were_not_counted_are_on_no_curve():
    some = results_of("a", [("joint", 2, 0.0, 1.5), ("joint", 4, 3.0, None), ("joint", 8, 9.0, 1.0)])
    curves = compared([some]).curves("flops")
    assert [row["num_steps"] for row in curves["a joint"]] == [8]
    assert compared([some]).curves("seconds") == {}


@pytest.mark.parametrize(
    ("results", "message"),
    [
        ([], "no results to compare"),
        ([MDLM, MDLM], "Two results are of a model 'mdlm'"),
        ([MDLM, results_of("b", [], task={"name": "others"})], "'mdlm' and 'b' differ in `name`"),
        ([MDLM, results_of("b", [], circumstances={"dtype": "bfloat16"})], "differ in `dtype`"),
        ([MDLM, results_of("b", [], circumstances={"versions": "2"})], "differ in `versions`"),
    ],
)
def test_what_cannot_be_compared_is_refused(results, message):
    with pytest.raises(ValueError, match=message):
        compared(results)


def with_usage(one, **scores):
    names = {"codes_perplexity": "perplexity", "codes_dead": "codes that do not occur"}
    numbers = [{"name": name, "metric": metric, "better": None, "digits": 1} for name, metric in names.items()]
    usage = (
        {"about": "usage", "texts": 9, "numbers": numbers, "scores": scores}
        if scores
        else {"about": "usage", "lacking": "codes"}
    )
    return replace(one, measures={"code_usage": usage})


def test_the_report_holds_the_measures_of_the_models_and_what_they_lack():
    scores = {"codes_perplexity": 5.25, "codes_perplexity_stderr": 0.5, "codes_dead": 3}
    report = markdown_report(compared([with_usage(MDLM), with_usage(OURS, **scores)]))
    assert cells_of(report, "### Measures of the model: code usage")[2:] == [
        ["perplexity", "", "5.2 ± 0.5"],
        ["codes that do not occur", "", "3.0"],
    ]
    assert "* code_usage, of 9 held-out texts: usage.\n* mdlm has no codes." in report
    assert "Measures of the model" not in markdown_report(compared([MDLM, with_usage(OURS)]))
    other = with_usage(OURS, **scores)
    other.measures["code_usage"]["about"] = "usage by another seed"
    with pytest.raises(ValueError, match="have the measure 'code_usage' with other options"):
        compared([with_usage(MDLM), other])


def test_wrong_axes_and_curves_are_refused():
    comparison = compared([MDLM, OURS])
    with pytest.raises(ValueError, match="The axis is 'watts'; give one of"):
        comparison.curves("watts")
    with pytest.raises(ValueError, match="no curve 'ours joint' over floating-point operations; give one of"):
        comparison.at_equal_cost("flops", "ours joint")


def cells_of(report, title):
    """The rows of the table below a title, as lists of cells."""
    lines = report[report.index(title) :].split("\n\n")[1].splitlines()
    return [[cell.strip() for cell in re.split(r"\|", line)[1:-1]] for line in lines]


def test_the_report_tells_the_order_in_which_each_saved_scheduler_writes():
    ours = replace(
        OURS, model={**OURS.model, "scheduler": {"kind": "LaddJointScheduler", "unmasking": "first_hitting"}}
    )
    assert cells_of(markdown_report(compared([ours])), "## texts")[2][3] == "JointScheduler, first_hitting"


def test_the_report_holds_every_number_and_says_where_the_baseline_has_none():
    report = markdown_report(compared([MDLM, OURS]))
    assert cells_of(report, "## texts")[2:] == [["mdlm", "MDLM", "12", "", "md"], ["ours", "MDLM", "12", "", "ou"]]
    by_evaluations = cells_of(report, "### Nats per character")
    assert by_evaluations[0] == ["evaluations", "1", "2", "4", "8"]
    assert by_evaluations[2:] == [
        ["mdlm joint", "", "2.0000 ± 0.0100", "1.6000 ± 0.0100", "1.5000 ± 0.0100"],
        ["ours tuned", "1.9000 ± 0.0100", "1.4000 ± 0.0100", "1.3000 ± 0.0100", "1.0000 ± 0.0100"],
    ]
    equal = cells_of(report, "#### At equal floating-point operations")
    assert equal[0][4:] == ["mdlm joint there", "change of perplexity"]
    assert [row[:1] + row[4:] for row in equal[2:]] == [
        ["ours tuned", "none: its cheapest run costs more", ""],
        ["ours tuned", "1.6000 ± 0.0100", "-18.1% ± 1.2%"],
        ["ours tuned", "1.5500 ± 0.0100", "-22.1% ± 1.1%"],
        ["ours tuned", "none: its dearest run costs less", ""],
    ]
    changed = cells_of(report, "#### Change of perplexity from mdlm joint, at equal evaluations")
    assert changed[0] == ["evaluations", "1", "2", "4", "8"]
    assert changed[2:] == [["ours tuned", "", "-45.1% ± 0.8%", "-25.9% ± 1.0%", "-39.3% ± 0.9%"]]
    closed = cells_of(report, "#### Share of the distance of mdlm joint to the data that is closed")
    assert [cell.split(" ± ")[0] for cell in closed[2]] == ["ours tuned", "", "+80.0%", "+85.7%", "+200.0%"]
    assert len(cells_of(report, "### Every run")) == 2 + 7
    assert "equal seconds" not in report and "nats 1.25" in report


def test_one_curve_has_nothing_to_be_compared_with():
    assert "equal cost" not in (report := markdown_report(compared([MDLM]))) and "### Every run" in report


def test_a_plot_is_an_image_and_pyplot_is_left_alone(tmp_path):
    from matplotlib import pyplot

    before = pyplot.get_fignums(), pyplot.get_backend()
    quality_figure(compared([MDLM, OURS])).savefig(tmp_path / "quality.png")
    assert (tmp_path / "quality.png").read_bytes().startswith(b"\x89PNG")
    assert (pyplot.get_fignums(), pyplot.get_backend()) == before
    with pytest.raises(ValueError, match=r"No samples at 0\.5 times the schedules' temperatures were scored"):
        quality_figure(compared([MDLM, OURS]), temperature=0.5)
