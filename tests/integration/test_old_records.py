"""Records that were saved before stages had names load, and say of each stage what they said."""

from __future__ import annotations

import json

import pytest

from ladd_hf.training.old_records import with_named_stages
from ladd_hf.training.run_record import RECORD_FILE, RunRecord
from ladd_hf.training.stage_checks import check_stages_kept
from ladd_hf.training.stage_lengths import RunLength
from ladd_hf.training.stage_plan import StagePlan
from ladd_hf.training.stages import Stage

FACTS = {"seed": "3"}


def run(steps, numbers, first=0, facts=FACTS):
    return {
        "steps": steps,
        "facts": facts,
        "first": first,
        "stages": numbers,
        "objectives": [[0, "the default"]] if facts else [],
    }


@pytest.fixture
def loaded(tmp_path):
    """`loaded(*runs)`: the record of a checkpoint that was saved with these stretches."""

    def load(*runs):
        data = {"steps": sum(one["steps"] for one in runs), "runs": list(runs), "measurements": []}
        (tmp_path / RECORD_FILE).write_text(json.dumps(data))
        return RunRecord.load(tmp_path)

    return load


@pytest.mark.parametrize(
    ("numbers", "counts"),
    [
        ([0, 0], {"joint": 9}),
        ([2, 0], {"mdlm": 2, "joint": 7}),
        ([0, 4], {"encoder": 4, "prior": 5}),
        ([2, 3], {"mdlm": 2, "encoder": 3, "prior": 4}),
        ([2, 30], {"mdlm": 2, "encoder": 7}),
    ],
)
def test_two_numbers_become_stages_with_names(numbers, counts, loaded):
    assert loaded(run(9, numbers)).stage_counts() == counts


def test_a_resumed_stretch_counts_from_its_first_step(loaded):
    record = loaded(run(4, [2, 3]), run(5, [2, 3], first=4))
    assert record.stage_counts() == {"mdlm": 2, "encoder": 3, "prior": 4}


def test_of_what_was_not_recorded_nothing_is_said(loaded):
    record = loaded(run(4, [0, 0], facts={}))
    assert record.stage_counts() == {} and record.runs[0].stages == []


def test_a_run_that_goes_on_is_held_to_the_stages_it_had(loaded):
    before = loaded(run(4, [0, 3])).runs[-1].stages
    for steps, kept in ((3, True), (2, False)):
        plan = StagePlan.of([Stage("encoder", steps=steps), Stage("prior")], RunLength(9), {})
        if kept:
            check_stages_kept(plan, 4, before)
        else:
            with pytest.raises(ValueError, match="'encoder', has 2, and had 3 steps"):
                check_stages_kept(plan, 4, before)


@pytest.mark.parametrize("stages", [[], [["encoder", 3], ["prior", 4]]])
def test_stages_with_names_stay_as_they_are(stages):
    assert with_named_stages(run(4, stages)) == run(4, stages)
