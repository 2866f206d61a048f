"""The texts of the bounds do not depend on what else is measured, and no schedule is tuned on them."""

from __future__ import annotations

import numpy as np
import pytest

from ladd_hf.evaluation import EvaluationSettings
from ladd_hf.evaluation.held_out import TUNING_TEXTS, bound_texts, tuning_texts


class Spread:
    """A task whose held-out texts are `number` different ones, spread as those of a corpus; one occurs twice."""

    def __init__(self, number):
        mask = [1, 1, 0]
        ids = [np.array([one // 100, one % 100, 0]) for one in range(number)]
        self.rows = [{"input_ids": one, "attention_mask": mask} for one in ids]
        self.rows[1] = self.rows[0]

    def eval_dataset(self, number, seed):
        places = np.linspace(0, len(self.rows) - 1, min(number, len(self.rows))).round().astype(int)
        return [self.rows[place] for place in places]


def places(rows):
    return [int(row["input_ids"][0]) * 100 + int(row["input_ids"][1]) for row in rows]


@pytest.mark.parametrize("held_out", [50, 300, 1000])
def test_bounds_and_tuning_share_no_text(held_out):
    task = Spread(held_out)
    settings = EvaluationSettings(num_texts=20, schedules=("saved", "tuned"))
    bound, tuning = bound_texts(task, settings), tuning_texts(task, settings)
    assert len(bound) == 20 and len(tuning) == min(TUNING_TEXTS, held_out - 20)
    of_bound, of_tuning = (set(places(rows)) - {0} for rows in (bound, tuning))
    assert not of_bound & of_tuning
    assert max(of_tuning) > 0.9 * held_out  # spread over all of them


def test_the_texts_of_the_bounds_are_the_same_with_and_without_a_tuned_schedule():
    with_it, without = (EvaluationSettings(num_texts=20, schedules=names) for names in (("tuned",), ("saved",)))
    assert places(bound_texts(Spread(1000), with_it)) == places(bound_texts(Spread(1000), without))


def test_bounds_that_leave_no_text_to_tune_on_are_refused():
    with pytest.raises(ValueError, match=r"which leaves 0 to tune a schedule on.*smaller `num_texts`"):
        tuning_texts(Spread(20), EvaluationSettings(num_texts=20, schedules=("tuned",)))


def test_no_texts_are_read_for_no_bounds():
    assert bound_texts(None, EvaluationSettings()) == []
