"""What travels with the package is rounded and cooled, and its card tells the scores of just that."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import pytest
import torch
from helpers.pages import letters
from huggingface_hub import ModelCard

from ladd_hf import LaddJointScheduler, LaddPipeline
from ladd_hf.evaluation import EvaluationResults
from ladd_hf.training.model_card import Conditions, Recipe, SampleScores, model_card

FOLDER = Path(__file__).resolve().parents[3] / "benchmarks"


@pytest.fixture(scope="module")
def script():
    with pytest.MonkeyPatch.context() as patched:
        patched.syspath_prepend(FOLDER)
        spec = importlib.util.spec_from_file_location("included", FOLDER / "make_included_pipelines.py")
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        yield module


def trained_card():
    """The card of a training in a clone, at temperature 1."""
    conditions = Conditions("letters", "float32", 42, "a CPU")
    scores = SampleScores({"Di-LADD sequential": {2: 9.0, 4: 8.0}}, "nats per character", "Nats.", conditions, 300)
    command = "accelerate launch examples/train_ladd.py --config examples/configs/python-docs-di.yaml --seed 42"
    return str(model_card("Di-LADD on letters", Recipe("Di-LADD", "letters", command=command), scores, text=True))


@pytest.fixture
def record():
    """What was measured of the rounded weights: other numbers, at other temperatures."""
    data = json.loads((FOLDER / "results" / "included-python-docs-di.json").read_text())
    data["rows"] = [row | {"nats": 5 / row["num_steps"]} for row in data["rows"][:2]]
    return EvaluationResults.of_data(data)


def test_weights_are_rounded_and_all_temperatures_set(script, stirred_model, tmp_path):
    for kind, cooled in (("vector", 0.6), ("none", 1.0)):
        source, target = tmp_path / kind, tmp_path / "target" / kind
        letters(stirred_model(kind)).save_pretrained(source)
        script.rounded(source, target, 0.6)
        pipe = LaddPipeline.from_pretrained(target)
        assert pipe.model.dtype == torch.bfloat16 and type(pipe.scheduler) is LaddJointScheduler
        assert (pipe.scheduler.config.temperature, pipe.scheduler.config.latent_temperature) == (0.6, cooled)


def test_a_card_tells_the_scores_of_the_rounded_weights_first_and_in_its_metadata(script, record):
    scores = script.scores_of(record)
    card = script.card_of(trained_card(), "python-docs-di", "python-docs-di", scores)
    assert "| nats per character | 2.50 ± 0.03 | 1.25 ± 0.03 |" in card
    assert card.index("at temperature 0.6") < card.index("9.0000")
    results = ModelCard(card).data.eval_results
    assert [one.metric_value for one in results[:2]] == [2.5, 1.25] and 9.0 not in {one.metric_value for one in results}
    assert results[0].metric_name == "nats per character (Di-LADD sequential, num_steps=2)"
    assert {(one.metric_args["temperature"], one.metric_args["latent_temperature"]) for one in results} == {(0.6, 0.6)}


def test_a_card_needs_no_clone(script, record):
    card = script.card_of(trained_card(), "python-docs-di", "python-docs-di", script.scores_of(record))
    assert "\nladd train python-docs-di --seed 42\n" in card and "train_ladd.py" not in card
    assert 'LaddPipeline.from_pretrained(included_pipeline("python-docs-di"))' in card


def test_a_card_that_is_written_again_is_the_same(script, record):
    scores = script.scores_of(record)
    card = script.card_of(trained_card(), "python-docs-di", "python-docs-di", scores)
    assert script.card_of(card, "python-docs-di", "python-docs-di", scores) == card


def test_the_cards_of_the_package_are_those_of_what_was_measured(script):
    for name, (recipe, _, _) in script.PIPELINES.items():
        card = (script.FOLDER / name / "README.md").read_text()
        results = EvaluationResults.load(script.record_of(name, script.FOLDER))
        assert script.card_of(card, name, recipe, script.scores_of(results)) == card


def test_a_card_of_something_else_is_refused(script, record):
    with pytest.raises(AssertionError, match="not one of a training"):
        script.card_of("# A card\n", "python-docs-di", "python-docs-di", script.scores_of(record))
