"""Schedules of an evaluation are names, paths, or either with options of the scheduler."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from ladd_hf import LaddJointScheduler, LaddScheduler, LaddSequentialScheduler
from ladd_hf.evaluation import EvaluationSettings
from ladd_hf.evaluation.schedule_specs import ScheduleSpec
from ladd_hf.evaluation.schedules import evaluated_schedulers

BENT = [[1, 1], [1, 0.3], [0, 0]]


def schedulers_of(*schedules, own=None, tuned=None):
    pipeline = SimpleNamespace(scheduler=own or LaddSequentialScheduler(latent_share=0.75, remasking="none"))
    return evaluated_schedulers(pipeline, EvaluationSettings(schedules=schedules), tuned or pytest.fail)


def test_options_stand_beside_the_path_and_tell_schedules_apart():
    found = schedulers_of(
        "saved", "joint", {"path": "joint", "token_waiting": "until_known"}, {"path": BENT, "steps": [1, 3]}
    )
    names = ["saved", "joint", "joint, token_waiting until_known"]
    assert list(found)[:3] == names and list(found)[3].endswith("steps [1, 3]")
    kinds = [LaddSequentialScheduler, LaddJointScheduler, LaddJointScheduler, LaddScheduler]
    assert [type(one) for one in found.values()] == kinds
    assert [one.config.token_waiting for one in found.values()] == ["none", "none", "until_known", "none"]
    assert found[list(found)[3]].steps_per_leg(8) == [2, 6]


def test_a_label_is_the_name_in_tables_and_is_kept():
    waits = {"label": "tokens wait", "path": "joint", "token_waiting": "until_known"}
    found = schedulers_of({"label": "as it is"}, waits, {"label": "bent", "path": BENT})
    assert list(found) == ["as it is", "tokens wait", "bent"]
    assert [one.config.token_waiting for one in found.values()] == ["none", "until_known", "none"]
    data = EvaluationSettings(schedules=(waits, {"label": "as it is"})).data()["schedules"]
    assert data == [waits, {"label": "as it is", "path": "saved"}]


def test_a_path_is_built_with_the_options_that_its_scheduler_takes_under_its_own():
    shared = {"temperature": 0.5, "latent_share": 0.5, "seed": 3}
    joint = ScheduleSpec.parsed({"path": "joint", "token_waiting": "until_known"}).built(shared)
    assert type(joint) is LaddJointScheduler
    assert (joint.config.temperature, joint.config.token_waiting) == (0.5, "until_known")
    sequential = ScheduleSpec.parsed({"path": "sequential", "temperature": 0.25}).built(shared)
    assert (sequential.config.temperature, sequential.config.latent_share) == (0.25, 0.5)
    assert [list(corner) for corner in ScheduleSpec.parsed(BENT).built(shared).path.vertices] == BENT


def test_those_without_a_path_change_the_pipelines_own():
    own = LaddSequentialScheduler(latent_share=0.75, timestep_spacing="cosine")
    found = schedulers_of("saved", {"latent_share": 0.5}, own=own)
    assert list(found) == ["saved", "saved, latent_share 0.5"] and found["saved"] is own
    changed = found["saved, latent_share 0.5"].config
    assert changed.latent_share == 0.5 and changed.timestep_spacing == "cosine"


def test_a_tuned_one_is_tuned_once():
    calls = []

    def tuned():
        calls.append(1)
        return LaddJointScheduler(timestep_spacing="cosine")

    found = schedulers_of("tuned", {"path": "tuned", "token_waiting": "while_written"}, tuned=tuned)
    assert len(calls) == 1 and [one.config.token_waiting for one in found.values()] == ["none", "while_written"]


def test_they_are_saved_as_data():
    given = ("saved", BENT, {"path": "joint", "token_waiting": "until_known"}, {"unmasking": "margin"})
    data = EvaluationSettings(schedules=given).data()["schedules"]
    assert data == ["saved", BENT, given[2], {"path": "saved", "unmasking": "margin"}]
    assert EvaluationSettings(schedules=data).data()["schedules"] == data


def test_two_of_one_name_are_refused():
    with pytest.raises(ValueError, match=r"has two named 'joint': give each a `label`"):
        EvaluationSettings(schedules=("joint", {"label": "joint", "path": "sequential"}))


def test_the_legs_of_a_named_path_may_have_steps_of_their_own():
    (scheduler,) = schedulers_of({"path": "sequential", "steps": [2, 6]}).values()
    assert scheduler.steps_per_leg(8) == [2, 6]
    assert scheduler.path == LaddSequentialScheduler().path


@pytest.mark.parametrize(
    ("schedule", "said"),
    [
        ({"path": "joint", "waiting": "none"}, r"has an option 'waiting', which its scheduler does not take"),
        ({"path": "joint", "latent_share": 0.5}, r"has an option 'latent_share'"),
        ({"path": "joint", "pad_token_id": 3}, r"has an option 'pad_token_id'"),
        ({"path": "sequential", "token_waiting": "long"}, r"`token_waiting` 'long' is unknown"),
        ({"path": [[1, 1], [0, 0.5]]}, r"along which no time rises"),
        ({"path": "joint", "label": 3}, r"`label` of a schedule is 3"),
        ({"path": "joint", "label": " "}, r"`label` of a schedule is ' '"),
    ],
    ids=str,
)
def test_what_is_no_schedule_is_refused(schedule, said):
    with pytest.raises(ValueError, match=said):
        EvaluationSettings(schedules=(schedule,))


def test_an_option_that_the_pipelines_own_scheduler_lacks_is_refused():
    with pytest.raises(ValueError, match=r"changes `latent_share`, which LaddJointScheduler does not have"):
        schedulers_of({"latent_share": 0.5}, own=LaddJointScheduler())
