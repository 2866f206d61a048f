"""Results in a file: they come back, and go on only with the same model, task, settings and circumstances."""

from __future__ import annotations

import json

import pytest
from helpers.evaluations import results_of

from ladd_hf.evaluation import EvaluationResults

ROWS = [("joint", 2, 5.0, 1.5), ("joint", 4, 10.0, 1.4)]


def test_they_come_back_from_their_file(tmp_path):
    one = results_of("a", ROWS, tmp_path / "new" / "a.json")
    one.save()
    again = EvaluationResults.load(one.path)
    assert again == one and not list(tmp_path.rglob("*.unfinished"))


def test_a_row_of_the_same_key_is_replaced_and_others_are_kept(tmp_path):
    one = results_of("a", ROWS, tmp_path / "a.json")
    one.add({**one.rows[0], "flops": 6.0})
    assert [row["flops"] for row in EvaluationResults.load(one.path).rows] == [10.0, 6.0]
    assert one.find(("joint", 1.0, 2))["flops"] == 6.0 and one.find(("joint", 0.5, 2)) is None


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"format": 2}', "\N{BLACK STAR}", '{"format": 1, "rows": []}'])
def test_any_other_file_is_refused(tmp_path, text):
    (tmp_path / "a.json").write_text(text, encoding="utf-8")
    with pytest.raises(ValueError, match=r"a\.json does not hold results of an evaluation"):
        EvaluationResults.load(tmp_path / "a.json")


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"model": {"fingerprint": "other"}}, '`fingerprint` \\("a", not "other"\\)'),
        ({"model": {"scheduler": {"kind": "LaddScheduler"}}}, "`scheduler`"),
        ({"settings": {"seed": 1}}, "`seed` \\(0, not 1\\)"),
        ({"settings": {"num_samples": 8}}, "`num_samples` \\(7, not 8\\)"),
        ({"task": {"reference": {"nats": 1.5}}}, "`reference.nats` \\(1.25, not 1.5\\)"),
        ({"task": {"measures": [{"name": "entropy"}]}}, '`measures\\[0\\].name` \\("nats", not "entropy"\\)'),
        ({"circumstances": {"dtype": "bfloat16"}}, "`dtype`"),
    ],
)
def test_a_file_of_another_evaluation_is_refused_by_its_first_difference(tmp_path, change, named):
    results_of("a", ROWS, tmp_path / "a.json").save()
    before = (tmp_path / "a.json").read_text()
    with pytest.raises(ValueError, match=f"holds results with another {named}.*: give another file"):
        results_of("a", [], tmp_path / "a.json", **change).resumed()
    assert (tmp_path / "a.json").read_text() == before


def test_more_rows_may_be_asked_for_and_none_is_lost(tmp_path):
    results_of("a", ROWS, tmp_path / "a.json").save()
    more = results_of("a", [], tmp_path / "a.json", settings={"budgets": [8], "batch_size": 3})
    assert [row["num_steps"] for row in more.resumed().rows] == [2, 4]


def test_a_label_stays_that_of_its_schedule(tmp_path):
    waits = {"label": "mine", "path": "joint", "token_waiting": "until_known"}
    results_of("a", ROWS, tmp_path / "a.json", settings={"schedules": [waits]}).save()
    other = results_of("a", [], tmp_path / "a.json", settings={"schedules": [{**waits, "token_waiting": "none"}]})
    with pytest.raises(ValueError, match=r"another schedule with the label 'mine' .*: give another label"):
        other.resumed()
    more = results_of("a", [], tmp_path / "a.json", settings={"schedules": ["saved"]}).resumed()
    assert more.settings["schedules"] == [waits, "saved"], "those of all rows"


def test_seconds_are_kept_with_their_settings_until_rows_are_timed_again(tmp_path):
    timed = results_of("a", ROWS, tmp_path / "a.json", settings={"timing_rounds": 5, "batch_size": 10})
    timed.rows[0]["seconds"] = 0.1
    timed.save()
    untimed = results_of("a", [], tmp_path / "a.json", settings={"batch_size": 3}).resumed()
    assert (untimed.settings["timing_rounds"], untimed.settings["batch_size"]) == (5, 10)
    again = results_of("a", [], tmp_path / "a.json", settings={"timing_rounds": 2, "batch_size": 3}).resumed()
    assert (again.settings["timing_rounds"], again.settings["batch_size"]) == (2, 3)


def test_a_write_that_fails_leaves_the_last_complete_file(tmp_path):
    one = results_of("a", ROWS, tmp_path / "a.json")
    one.save()
    before = json.loads(one.path.read_text())
    with pytest.raises(TypeError):
        one.add({**one.rows[0], "num_steps": 8, "flops": object()})
    assert json.loads(one.path.read_text()) == before
