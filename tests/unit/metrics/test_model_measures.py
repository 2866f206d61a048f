"""Measures of models by name: what they say of themselves is what they compute, and one's own are as good."""

from __future__ import annotations

from dataclasses import dataclass, fields

import pytest
import torch
from helpers.registries import kept

from ladd_hf.metrics import MODEL_MEASURES, Estimate, ModelNumber, model_measures, register_model_measure
from ladd_hf.metrics.model_measures import check_measurable, measured

OTHER_OPTIONS = {"seed": 5, "token_times": (0.3, 1.0)}


@pytest.mark.parametrize("name", MODEL_MEASURES)
def test_a_measure_computes_the_numbers_that_it_names(name, stirred_model):
    (measure,) = model_measures([name])
    model = stirred_model("discrete")
    scores = measure.scores(model, torch.randint(1, 10, (7, 12)).split(3))
    assert measure.name == name and list(scores) == [one.name for one in measure.numbers]
    assert all(score.stderr is not None for score in scores.values())
    data = measured(measure, scores)
    assert len(data["scores"]) == 2 * len(scores) and [one["name"] for one in data["numbers"]] == list(scores)
    assert measure.lacking(model.config) is None and measure.lacking(stirred_model("none").config) is not None


@pytest.mark.parametrize(
    ("name", "option"), [(name, one.name) for name, measure in MODEL_MEASURES.items() for one in fields(measure)]
)
def test_what_a_measure_depends_on_is_in_its_description(name, option):
    told = []
    for options in ({}, {option: OTHER_OPTIONS[option]}):
        (measure,) = model_measures([{"name": name, **options}])
        told.append((measure.about, measure.numbers))
    assert told[0] != told[1]


def test_a_measure_of_ones_own_is_a_class_and_a_name(stirred_model):
    with kept():

        @register_model_measure("longest")
        @dataclass(frozen=True)
        class Longest:
            least: int = 0
            name = "longest"
            numbers = (ModelNumber("longest", "tokens of the longest batch"),)

            @property
            def about(self):
                return f"the longest batch, {self.least} at least"

            def lacking(self, config):
                return None

            def scores(self, model, batches):
                return {"longest": Estimate(max(self.least, *(batch.shape[1] for batch in batches)))}

        for spec in ({"name": "longest", "least": 3}, Longest(3)):
            (measure,) = model_measures([spec])
            check_measurable([measure], stirred_model("none").config)
            found = measured(measure, measure.scores(None, [torch.zeros(2, 5), torch.zeros(2, 4)]))
            assert found["scores"] == {"longest": 5} and found["about"] == "the longest batch, 3 at least"
    with pytest.raises(ValueError, match="measure 'longest' is unknown"):
        model_measures(["longest"])
