"""Settings of an evaluation: what is refused, and that each of them matters to numbers or is named as free."""

from __future__ import annotations

from dataclasses import fields

import pytest
from helpers.evaluations import results_of

from ladd_hf import TimePath
from ladd_hf.evaluation import EvaluationSettings, compared


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"budgets": ()}, "`budgets` is"),
        ({"budgets": "2"}, "give a list of numbers"),
        ({"budgets": (0,)}, "`budgets` is 0"),
        ({"temperatures": (float("nan"),)}, "`temperatures` is nan"),
        ({"schedules": "joint"}, "such as \\['saved', 'joint', 'tuned'\\]"),
        ({"schedules": ("zigzag",)}, "'zigzag' is unknown"),
        ({"schedules": ([[1, 1], [0, 0.5]],)}, "along which no time rises"),
        ({"paths": "joint"}, "such as \\['joint', 'sequential'\\]"),
        ({"paths": ("zigzag",)}, "'zigzag' is unknown"),
        ({"num_sequences": -1}, "`num_sequences` is -1"),
        ({"num_samples": -1}, "`num_samples` is -1"),
        ({"batch_size": 0}, "`batch_size` is 0"),
        ({"seed": -1}, "`seed` is -1"),
        ({"num_proposals": 4}, "without texts: give `num_texts`"),
        (
            {"measures": ("code_usage",), "num_sequences": 0},
            "`measures` are of held-out texts, and `num_sequences` is 0",
        ),
        ({"measures": ("taste",)}, "measure 'taste' is unknown"),
        ({"num_texts": 4, "num_proposals": 4, "proposal_width": 0}, "`proposal_width` is 0"),
        ({"num_texts": 4, "proposal_width": 0.5}, "`proposal_width` is 0.5 without proposals: give `num_proposals`"),
        ({"num_texts": 4, "temperatures": (0.5,)}, "bounds are those of temperature 1"),
    ],
)
def test_what_cannot_be_measured_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        EvaluationSettings(**options)


def test_a_path_is_kept_as_corners_however_it_is_given():
    bent = [[1, 1], [1, 0.3], [0, 0]]
    given = EvaluationSettings(schedules=(TimePath(tuple(map(tuple, bent))), bent, "joint", "saved", "tuned"))
    assert given.data()["schedules"] == [bent, bent, "joint", "saved", "tuned"]


# Another value of each setting, and whether rows of the two may stand in one table.
CHANGED = {
    "budgets": ((3,), True),
    "schedules": (("joint",), True),
    "temperatures": ((1.0, 0.5), True),
    "num_samples": (8, False),
    "batch_size": (3, True),  # of seconds alone; see below
    "num_texts": (5, False),
    "bound_samples": (9, False),
    "num_proposals": (6, False),
    "proposal_width": (0.5, False),
    "paths": (("joint",), True),
    "num_sequences": (5, False),
    "timing_rounds": (2, True),
    "seed": (1, False),
    "measures": (("code_usage",), True),
}


def test_the_table_below_has_every_setting():
    assert set(CHANGED) == {field.name for field in fields(EvaluationSettings)}


@pytest.mark.parametrize("name", CHANGED)
@pytest.mark.parametrize("timed", [False, True])
def test_results_with_another_setting_are_refused_unless_no_number_depends_on_it(name, timed):
    value, free = CHANGED[name]
    one, other = results_of("a", [("joint", 2, 5.0, 1.5)]), results_of("b", [("joint", 2, 5.0, 1.5)])
    other.settings[name] = list(value) if isinstance(value, tuple) else value
    if timed:
        one.rows[0]["seconds"] = other.rows[0]["seconds"] = 0.1
    if free and not (timed and name in ("batch_size", "timing_rounds")):
        assert compared([one, other]).results == [one, other]
        return
    with pytest.raises(ValueError, match=f"differ in `{name}`.*evaluate them alike"):
        compared([one, other])
