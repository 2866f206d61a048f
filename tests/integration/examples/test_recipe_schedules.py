"""The schedules that a run compares: their options, and what is refused before anything is trained."""

from __future__ import annotations

import pytest
from helpers.recipes import describe, parse


def test_schedules_of_a_run_may_have_options_over_those_of_all():
    waits = "{label: waits, path: [[1, 1], [0.5, 0], [0, 0]], token_waiting: until_known, temperature: 0.5}"
    _, _, schedulers, _ = parse("sawtooth-di", "--temperature", "0.75", "--schedules", "joint", waits, "sequential")
    built = schedulers.compared(describe("sawtooth-di")[1])
    assert list(built) == ["joint", "waits", "sequential"]
    assert [one.config.token_waiting for one in built.values()] == ["none", "until_known", "none"]
    assert [one.config.temperature for one in built.values()] == [0.75, 0.5, 0.75]
    assert schedulers.along("joint").config.token_waiting == "none", "the baseline's"


@pytest.mark.parametrize(
    ("schedules", "said"),
    [
        (("joint", "{path: sequential, label: joint}"), "has two named 'joint'"),
        (("{path: joint",), "is not YAML"),
        (("saved", "joint"), "has 'saved', of which a run has none yet"),
        (("{path: joint, waiting: none}",), "has an option 'waiting'"),
        (("joint", "{path: tuned, unmasking: first_hitting}"), "`unmasking` 'first_hitting' does not look at times"),
        (("joint", "{path: tuned, latent_share: 0.5}"), "has an option 'latent_share'"),
        (("zigzag",), "'zigzag' is unknown"),
    ],
    ids=str,
)
def test_what_is_no_schedule_of_a_run_is_refused(schedules, said, capsys):
    with pytest.raises(SystemExit):
        parse("sawtooth-di", "--schedules", *schedules)
    assert said in capsys.readouterr().err


@pytest.mark.parametrize(
    ("option", "said"),
    [
        ("token_waiting: long", "`token_waiting` 'long' is unknown"),
        ("temperature: -1", "`temperature` is -1"),
        ("latent_renoising: 0.5", "`latent_renoising` is 0.5"),
    ],
    ids=str,
)
def test_options_of_a_tuned_schedule_are_checked_before_anything_is_trained(option, said):
    _, _, schedulers, _ = parse("sawtooth-di", "--schedules", "joint", f"{{path: tuned, {option}}}")
    with pytest.raises(ValueError, match=said):
        schedulers.compared(describe("sawtooth-di")[1])
