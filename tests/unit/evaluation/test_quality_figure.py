"""The figure of quality against costs shows the rows of the results."""

from __future__ import annotations

import pytest

from ladd_hf.evaluation import Comparison, EvaluationResults, quality_figure

MEASURE = {"name": "nats", "metric": "nats per token", "about": "", "better": "lower", "digits": 4}
TASK = {"name": "toy", "measures": [MEASURE], "reference": {"nats": 0.5, "nats_stderr": 0.01}}


def results(name, scores, schedules=("saved", "tuned"), seconds=True):
    """Two schedules of three budgets, given out of order, and one at another temperature."""
    rows = []
    for schedule in schedules:
        for steps in (8, 2, 4):
            row = {"schedule": schedule, "temperature": 1.0, "num_steps": steps, "nfe": steps, "flops": 1e6 * steps}
            row |= {"nats": scores[steps], "nats_stderr": 0.1 * scores[steps]}
            rows.append(row | ({"seconds": 0.001 * steps} if seconds else {}))
    rows.append({"schedule": "saved", "temperature": 0.5, "num_steps": 2, "nfe": 2, "flops": 2e6})
    return EvaluationResults({"name": name}, TASK, {}, {}, rows, {"run": "together"} if seconds else {})


BASELINE = results("mdlm", {2: 0.9, 4: 0.8, 8: 0.7})
OTHER = results("di-ladd", {2: 0.6, 4: 0.55, 8: 0.52})


def test_seconds_of_another_run_are_not_drawn_beside_the_baselines():
    apart = results("di-ladd", {2: 0.6, 4: 0.55, 8: 0.52})
    apart.timing = {"run": "another"}
    *others, of_seconds = quality_figure(Comparison([BASELINE, apart])).axes
    assert all("di-ladd saved" in curves(axes) for axes in others)
    assert list(curves(of_seconds)) == ["mdlm saved", "mdlm tuned"]


def curves(axes):
    return {one.get_label(): one for one in axes.containers}


def test_curves_are_the_rows_in_the_order_of_their_cost():
    figure = quality_figure(Comparison([BASELINE, OTHER]))
    assert [axes.get_xlabel().split(" per")[0] for axes in figure.axes] == [
        "denoiser evaluations",
        "floating-point operations",
        "seconds",
    ]
    for axes, unit in zip(figure.axes, (1, 1e6, 0.001), strict=True):
        found = curves(axes)
        assert list(found) == ["mdlm saved", "mdlm tuned", "di-ladd saved", "di-ladd tuned"]
        line, _, (bars,) = found["di-ladd saved"]
        assert line.get_xdata().tolist() == pytest.approx([2 * unit, 4 * unit, 8 * unit])
        assert line.get_ydata().tolist() == [0.6, 0.55, 0.52]
        lengths = [top - bottom for (_, bottom), (_, top) in bars.get_segments()]
        assert lengths == pytest.approx([0.12, 0.11, 0.104])
        assert axes.get_xscale() == "log"
        own = next(one for one in axes.lines if one.get_label() == "the data itself")
        assert set(own.get_ydata()) == {0.5}


def test_a_model_keeps_its_colour_and_a_schedule_its_line():
    found = curves(quality_figure(Comparison([BASELINE, OTHER])).axes[0])
    style = {name: (one[0].get_color(), one[0].get_linestyle()) for name, one in found.items()}
    assert style["mdlm saved"][0] == style["mdlm tuned"][0] != style["di-ladd saved"][0] == style["di-ladd tuned"][0]
    assert style["mdlm saved"][1] == style["di-ladd saved"][1] != style["mdlm tuned"][1] == style["di-ladd tuned"][1]
    alone = curves(quality_figure(Comparison([BASELINE])).axes[0])
    assert alone["mdlm saved"][0].get_color() == style["mdlm saved"][0]


def test_costs_that_were_not_measured_have_no_panel():
    untimed = [results(name, {2: 0.9, 4: 0.8, 8: 0.7}, seconds=False) for name in ("a", "b")]
    assert len(quality_figure(Comparison(untimed)).axes) == 2


def test_rows_without_a_score_are_not_drawn_at_zero():
    partly = results("a", {2: 0.9, 4: 0.8, 8: 0.7})
    partly.rows[0].pop("nats")
    (line, *_) = curves(quality_figure(Comparison([partly])).axes[0])["a saved"]
    assert line.get_ydata().tolist() == [0.9, 0.8]
    with pytest.raises(ValueError, match=r"No samples at 0\.5 times the schedules' temperatures were scored by 'nats'"):
        quality_figure(Comparison([partly]), 0.5)


def test_curves_can_be_chosen_and_named():
    figure = quality_figure(Comparison([BASELINE, OTHER]), names={"mdlm saved": "MDLM", "di-ladd tuned": "Di-LADD"})
    assert all(list(curves(axes)) == ["MDLM", "Di-LADD"] for axes in figure.axes)
    with pytest.raises(ValueError, match=r"'mdlm'.*those are mdlm saved, mdlm tuned"):
        quality_figure(Comparison([BASELINE, OTHER]), names={"mdlm": "MDLM"})


def test_long_names_do_not_hide_curves():
    assert quality_figure(Comparison([BASELINE, OTHER])).axes[0].get_legend() is not None
    wide = quality_figure(Comparison([BASELINE]), names={"mdlm saved": "a name " * 10})
    assert wide.axes[0].get_legend() is None and len(wide.legends) == 1
