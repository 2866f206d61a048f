"""Settings of a run: what a form may hold, and the line that says the same on the command line."""

from __future__ import annotations

import shlex

import pytest

from ladd_hf.app.form import settings_of
from ladd_hf.app.settings import SCHEDULES, Settings
from ladd_hf.app.users_errors import sentence

FORM = {
    "prompt": "",
    "steps": 8,
    "schedule": "as saved",
    "temperature": "",
    "latent_temperature": "",
    "guidance": 1,
    "length": "",
    "seed": 0,
}


def test_an_untouched_form_is_the_default():
    assert settings_of(**FORM) == Settings()


def test_the_command_has_what_differs_from_the_defaults_and_quotes_the_text():
    assert shlex.split(Settings().command("my model")) == [
        *("ladd", "generate", "my model", "--steps", "8", "--seed", "0"),
    ]
    settings = settings_of(
        **{
            **FORM,
            "prompt": "it's; a $x",
            "temperature": "0.5",
            "latent_temperature": "0.6",
            "guidance": 2.0,
            "length": "12",
        }
    )
    words = shlex.split(settings.command("m"))
    assert words[:4] == ["ladd", "generate", "m", "it's; a $x"]
    assert dict(zip(words[4::2], words[5::2], strict=True)) == {
        "--steps": "8",
        "--temperature": "0.5",
        "--latent-temperature": "0.6",
        "--guidance": "2.0",
        "--length": "12",
        "--seed": "0",
    }


def test_a_text_like_a_flag_stands_after_all_flags():
    assert Settings("-n 3").command("m") == "ladd generate m --steps 8 --seed 0 -- '-n 3'"


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("steps", 0, "at least 1"),
        ("steps", None, "whole number"),
        ("steps", 2.5, "whole number"),
        ("seed", -1, "from 0"),
        ("seed", None, "whole number"),
        ("temperature", "warm", "'warm'"),
        ("temperature", "-1", "0 or more"),
        ("temperature", "nan", "0 or more"),
        ("latent_temperature", "-1", "0 or more"),
        ("length", "1.5", "whole number"),
        ("length", "inf", "whole number"),
        ("length", "1e400", "whole number"),
        ("length", "nan", "whole number"),
        ("length", "0", "at least 1"),
        ("schedule", "spiral", "choose one of"),
    ],
)
def test_what_cannot_be_is_one_sentence(field, value, said):
    with pytest.raises(ValueError, match=said) as caught:
        settings_of(**{**FORM, field: value})
    assert "\n" not in sentence(caught.value)


def test_an_error_that_is_not_the_users_is_logged_and_its_words_stay_out_of_the_page(caplog):
    said = sentence(KeyError("inner"))
    assert "inner" not in said and "inner" in caplog.text and "\n" not in said


def test_every_schedule_has_a_name_to_choose_it_by():
    assert {"joint", "sequential"} <= {path for path, _ in SCHEDULES.values()}
