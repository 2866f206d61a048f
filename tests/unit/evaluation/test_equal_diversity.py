"""Runs beside a baseline whose samples are as diverse: found between its temperatures, seed by seed."""

from __future__ import annotations

import math

import pytest
from helpers.evaluations import results_of
from hypothesis import given
from hypothesis import strategies as st

from ladd_hf.evaluation import compared
from ladd_hf.evaluation.diversity_plot import diversity_figure
from ladd_hf.evaluation.equal_diversity import at_equal_diversity
from ladd_hf.evaluation.seeds import compared_over_seeds


def model(name, points, seed=0):
    """Rows of points (temperature, evaluations, diversity, score)."""
    found = results_of(
        name, [(f"saved, temperature {t}", n, 1.0, score) for t, n, _, score in points], settings={"seed": seed}
    )
    for row, (_, _, diversity, _) in zip(found.rows, points, strict=True):
        row["entropy"] = diversity
    found.model["fingerprint"] = f"{name} {seed}"
    return found


COOL, MIDDLE, WARM = (f"mdlm saved, temperature {t}" for t in (0.6, 0.8, 1.0))
OURS = "ours saved, temperature 0.6"


@given(st.floats(-5, 5), st.floats(-2, 2), st.floats(0, 1), st.floats(-1, 1))
def test_a_baseline_whose_score_is_linear_in_diversity_is_known_exactly(slope, offset, share, lead):
    def score(diversity):
        return offset + slope * diversity

    mdlm = model("mdlm", [(t, 4, h, score(h)) for t, h in ((1.0, 2.7), (0.6, 2.4), (0.8, 2.5))])
    diversity = 2.4 + 0.3 * share
    (one,) = at_equal_diversity(
        compared([mdlm, model("ours", [(0.6, 4, diversity, score(diversity) - lead)])]), OURS, [COOL, WARM, MIDDLE]
    )
    assert one.baseline == pytest.approx(score(diversity), abs=1e-9) and one.beyond is None
    assert one.change.value == pytest.approx(math.exp(-lead) - 1)


def test_numbers_of_evaluations_are_compared_with_themselves_and_beyond_the_baseline_with_nothing():
    mdlm = model("mdlm", [(0.6, 2, 2.4, 5.0), (1.0, 2, 2.6, 6.0), (0.6, 4, 2.5, 4.0), (1.0, 4, 2.7, 4.5)])
    ours = model("ours", [(0.6, 2, 2.7, 4.0), (0.6, 4, 2.5, 3.0), (0.6, 8, 2.5, 2.0)])
    found = at_equal_diversity(compared([mdlm, ours]), OURS, [COOL, WARM])
    assert [(one.num_steps, one.baseline, one.beyond) for one in found] == [
        (2, None, "diversity"),
        (4, 4.0, None),
        (8, None, "cost"),
    ]
    assert found[1].data()["change"] == pytest.approx(math.exp(-1) - 1) and "change" not in found[0].data()


@given(st.floats(0, 1), st.floats(0, 1))
def test_between_its_costs_the_baseline_is_linear_in_their_logarithm_at_the_runs_diversity(share, diverse):
    def score(diversity, cost):
        return 3 * diversity - math.log(cost)

    points = [(t, n, h, score(h, 10.0 * n)) for n in (2, 4, 8) for t, h in ((0.6, 2.4), (1.0, 2.7))]
    mdlm = model("mdlm", points)
    for row, (_, number, _, _) in zip(mdlm.rows, points, strict=True):
        row["flops"] = 10.0 * number
    diversity, cost = 2.4 + 0.3 * diverse, 20.0 * 4**share
    ours = model("ours", [(0.6, 3, diversity, 1.0)])
    ours.rows[0]["flops"] = cost
    (one,) = at_equal_diversity(compared([mdlm, ours]), OURS, [COOL, WARM], axis="flops")
    assert one.baseline == pytest.approx(score(diversity, cost), abs=1e-6) and one.cost == cost


def test_each_training_is_compared_with_the_baselines_at_its_seed():
    leads = (0.1, 0.3, 0.2)
    mdlm = [model("mdlm", [(0.6, 4, 2.4, 3.0 + s), (1.0, 4, 2.6, 4.0 + s)], s) for s in range(3)]
    ours = [model("ours", [(0.6, 4, 2.5, 3.5 + s - leads[s])], s) for s in range(3)]
    (one,) = at_equal_diversity(compared_over_seeds([mdlm, ours]), OURS, [COOL, WARM])
    assert one.change.by_seed == pytest.approx([math.exp(-lead) - 1 for lead in leads])
    assert one.change.value == pytest.approx(math.exp(-0.2) - 1)
    spread = math.sqrt(sum((one - sum(c) / 3) ** 2 for c in [one.change.by_seed] for one in c) / 2 / 3)
    assert one.change.stderr == pytest.approx(spread)


@pytest.mark.parametrize(
    ("run", "baseline", "measure", "message"),
    [
        ("ours tuned", [COOL], "entropy", "no curve 'ours tuned'; give some of"),
        (OURS, ["mdlm tuned"], "entropy", "no curve 'mdlm tuned'"),
        (OURS, [], "entropy", "`baseline` is empty"),
        (OURS, [COOL], "distinct_4", "evaluations have no 'distinct_4': evaluate them with a judge"),
    ],
)
def test_what_is_not_there_is_named(run, baseline, measure, message):
    both = compared([model("mdlm", [(0.6, 4, 2.4, 3.0)]), model("ours", [(0.6, 4, 2.5, 3.5)])])
    with pytest.raises(ValueError, match=message):
        at_equal_diversity(both, run, baseline, measure)


def test_the_plot_has_a_panel_for_each_number_and_a_line_through_the_temperatures():
    mdlm = model("mdlm", [(t, n, 2 + t / 2, 3 + t) for n in (2, 4) for t in (1.0, 0.6)])
    ours = model("ours", [(t, 4, 2 + t / 3, 2 + t) for t in (0.6, 1.0)])
    figure = diversity_figure(compared([mdlm, ours]))
    assert [axes.get_title() for axes in figure.axes] == ["2 evaluations", "4 evaluations"]
    lines = {line.get_label(): line.get_xydata().tolist() for line in figure.axes[1].lines}
    assert lines["mdlm saved"] == [[2.3, 3.6], [2.5, 4.0]]
    assert lines["ours saved"] == [[pytest.approx(2.2), 2.6], [pytest.approx(2 + 1 / 3), 3.0]]
    with pytest.raises(ValueError, match="`names` has 'ours', which is no line; those are mdlm saved, ours saved"):
        diversity_figure(compared([mdlm, ours]), names={"ours": "Ours"})
    with pytest.raises(ValueError, match="No samples have 'distinct_4'"):
        diversity_figure(compared([mdlm, ours]), "distinct_4")
