"""What the command cannot do it says in one sentence, without its usage, and with exit code 2."""

from __future__ import annotations

import pytest


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("nosuch", "ladd: error: No such command 'nosuch'; see ladd --help."),
        ("--nosuch", "ladd: error: No such option: --nosuch"),
        ("generate", "ladd generate: error: Missing argument 'MODEL'; see ladd generate --help."),
        ("infill model", "ladd infill: error: Missing argument 'TEXT'"),
        ("generate model --step 3", "ladd generate: error: No such option: --step (Possible options: "),
        ("generate model --num-sample 3", "No such option: --num-sample"),
        ("generate model --steps many", "ladd generate: error: Invalid value for '--steps'"),
        ("generate model --steps", "--steps' requires an argument"),
        ("mix model one two three", "ladd mix: error: Got unexpected extra argument"),
        ("train --processes 0", "ladd train: error: Invalid value for '--processes'"),
        ("tune model --processes 2", "ladd tune: error: "),
    ],
)
def test_an_error_is_one_sentence(ladd, words, said):
    refusal = ladd(*words.split()).refusal
    assert said in refusal and "Usage" not in refusal


def test_help_is_no_error(ladd):
    whole = ladd()
    assert whole.code == 0 and whole.out == ladd("--help").out and "generate" in whole.out
    assert "--latent-temperature" in ladd("generate", "-h").out
    assert ladd("--version").out.startswith("ladd_hf ")


def test_an_interrupt_ends_it_with_a_word(ladd, monkeypatch):
    def interrupt(**options):
        raise KeyboardInterrupt

    monkeypatch.setattr("ladd_hf.cli.environment.env", interrupt)
    said = ladd("env")
    assert (said.code, said.err) == (130, "ladd: stopped.\n")


def test_errors_of_the_code_are_not_hidden(ladd, monkeypatch):
    def fail(**options):
        raise ZeroDivisionError

    monkeypatch.setattr("ladd_hf.cli.environment.env", fail)
    with pytest.raises(ZeroDivisionError):
        ladd("env")
