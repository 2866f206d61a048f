"""Judges in recipes and on command lines, by name or with options, reach the task."""

from __future__ import annotations

import pytest
from helpers.examples import recipes, train_ladd


@pytest.fixture
def corpus(tmp_path, monkeypatch):
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")
    folder = tmp_path / "texts"
    folder.mkdir()
    for split, count in (("train", 40), ("validation", 10)):
        lines = [f"the {n} cats sat on the mat and dog number {n} ran to the log" for n in range(count)]
        (folder / f"{split}.txt").write_text("\n".join(lines))
    return folder


def task_of(corpus, *flags, recipe=None):
    path = corpus.parent / "recipe.yaml"
    path.write_text(f"data: {corpus}\nlength: 16\nmax_steps: 2\n" + (recipe or ""))
    run, *_ = recipes.parse_arguments(["--config", str(path), "--output_dir", str(corpus.parent / "out"), *flags])
    return train_ladd.make_task(run)


JUDGES = "judges: [entropy, {name: memorization, window: 9}]\n"


def test_they_are_a_list_of_names_and_mappings(corpus):
    task = task_of(corpus, recipe=JUDGES)
    assert [measure.name for measure in task.measures] == ["entropy", "memorized"]
    assert "windows of 9 characters" in task.measures[1].about
    plain = task_of(corpus)
    assert [measure.name for measure in plain.measures] == ["nats", "entropy"]


def test_flags_replace_those_of_the_recipe(corpus):
    flags = ("--judges", "ngram", "{name: diversity, self_bleu_samples: 0}", "--judge_order", "3")
    task = task_of(corpus, *flags, recipe=JUDGES)
    assert [measure.name for measure in task.measures] == ["nats", *(f"distinct_{n}" for n in range(1, 5))]
    assert "3-gram" in task.measures[0].about
    unset = task_of(corpus, "--unset", "judges", recipe=JUDGES)
    assert [measure.name for measure in unset.measures] == ["nats", "entropy"]


def test_the_sawtooths_stand_beside_its_exact_law(corpus):
    task = task_of(corpus, "--data", "sawtooth", "--judges", "distribution_distance")
    assert [measure.name for measure in task.measures] == ["nats", "sliced_wasserstein", "token_kl"]


@pytest.mark.parametrize(
    ("recipe", "message"),
    [
        ("judges: ngram\n", "`judges` is 'ngram'; give a list"),
        ("judges: [gpt]\n", "judge 'gpt' is unknown; give one of"),
        ("judges: [{name: ngram, size: 3}]\n", "has no option 'size'"),
    ],
)
def test_what_names_no_judge_is_refused(corpus, recipe, message):
    with pytest.raises((ValueError, SystemExit), match=message):
        task_of(corpus, recipe=recipe)
