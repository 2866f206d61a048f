"""A number that a task measures is in judgements, in the printed table and on cards, with nothing said elsewhere."""

from __future__ import annotations

import datasets
import pytest
import torch
from helpers.examples import reporting

from ladd_hf.data import character_tokenizer
from ladd_hf.tasks import Measure, SawtoothTask, TextTask
from ladd_hf.training.model_card import Recipe, model_card

TEXTS = ["the cat sat on the mat ", "a dog ran to the log "] * 10


def distinct(texts):
    """The share of samples that no other one is like."""
    return len(set(texts)) / len(texts)


class VariedTask(TextTask):
    @property
    def measures(self):
        return (*super().measures, Measure("distinct", "distinct samples", "how many differ", distinct, "higher", 2))


def text_task(kind):
    splits = {name: datasets.Dataset.from_dict({"text": TEXTS}) for name in ("train", "validation")}
    return kind("words", splits, character_tokenizer(), length=8, judge_order=2)


@pytest.fixture
def shown(make_trainer, tiny_model):
    """`shown(task, judgement)`: the printed table, and the text of the card, of one schedule at two evaluations."""

    def show(task, judgement):
        quality = {"joint": {2: judgement}}
        trainer = make_trainer(tiny_model("none"), max_steps=1)
        scores = reporting.sample_scores(task, quality, trainer, 4)
        table = reporting.show_table(task, quality, {})
        return table.splitlines(), model_card("A model", Recipe("MDLM", "words"), scores)

    return show


def test_a_measure_of_ones_own_is_shown_with_its_direction(shown):
    task = text_task(VariedTask)
    ids = torch.as_tensor(task.tokenizer(["the cat ", "the cat ", "a dog ra"]).input_ids)
    judgement, reference = task.judge(ids), task.reference()
    assert judgement["distinct"] == pytest.approx(2 / 3)
    (*_, direction, last), card = shown(task, judgement)
    assert direction.split() == ["joint", "distinct", "(higher", "is", "better)", "0.67"]
    entropy = f"{reference['entropy']:.3f}±{reference['entropy_stderr']:.3f}"
    assert last.endswith(f", entropy {entropy}, distinct {reference['distinct']:.2f}")
    assert "| joint, distinct (higher is better) | 0.6667 |" in card.text
    assert f" and distinct {reference['distinct']:.4f}; a lower score" in card.text
    assert "the mean entropy of a sample's characters, how many differ." in card.text
    assert {"nats_per_character", "unigram_entropy_in_nats", "distinct_samples"} == {
        result.metric_type for result in card.data.eval_results
    }


def test_what_tasks_measure_is_shown_with_its_error_where_that_is_known(shown):
    task = text_task(TextTask)
    reference = task.reference()
    table, card = shown(task, {"nats": 1.5, "entropy": 2.25, "entropy_stderr": 0.0125})
    nats = f"{reference['nats']:.4f}±{reference['nats_stderr']:.4f}"
    entropy, error = reference["entropy"], reference["entropy_stderr"]
    assert [line.split() for line in table] == [
        ["evaluations", "2"],
        ["joint", "1.5000"],
        ["joint", "entropy", "2.250±0.013"],
        f"held-out texts: {nats}, entropy {entropy:.3f}±{error:.3f}".split(),
    ]
    floors = f"Held-out texts score {nats}, with entropy {entropy:.4f}±{error:.4f}; a lower score"
    assert floors in card.text and "| joint, entropy | 2.2500±0.0125 |" in card.text
    (measured,) = (one for one in card.data.eval_results if one.metric_type == "unigram_entropy_in_nats")
    assert measured.metric_value == 2.25 and measured.metric_args["stderr"] == 0.0125


def test_an_exact_judge_says_one_number(shown):
    task = SawtoothTask(8)
    table, card = shown(task, {"nats": 0.75})
    nats = f"{task.reference()['nats']:.4f}"
    assert table[-1] == f"entropy of the data: {nats} (what the data itself scores; lower is more typical)"
    assert len(table) == 3 and f"The data itself scores {nats}, its entropy" in card.text


def test_a_bound_along_a_path_given_as_data_is_described_by_its_name():
    metrics = {f"eval_1-1_1-0.3_0-0_{part}_nats": value for part, value in (("token", 0.5), ("latent", 0.25))}
    assert "0.7500 nats per token" in reporting.describe_bound("Di-LADD", [[1.0, 1.0], [1.0, 0.3], [0.0, 0.0]], metrics)


@pytest.mark.parametrize(
    ("method", "expected"),
    [("MDLM", "orders averaged"), ("Di-LADD", "latents and orders averaged"), ("Co-LADD", "no bound)")],
)
def test_the_marginalised_bound_is_told_beside_the_plain_one(method, expected):
    metrics = {f"eval_joint_{part}_nats": 0.5 for part in ("token", "latent")}
    assert "averaged" not in reporting.describe_bound(method, "joint", metrics)
    metrics |= {"eval_joint_marginal_nelbo": 0.75, "eval_joint_marginal_stderr": 0.01}
    told = reporting.describe_bound(method, "joint", metrics, 2)
    assert expected in told and told.endswith("averaged out, 2 evaluations: 0.7500 ± 0.0100")


def test_the_bound_of_tokens_given_their_codes_is_called_so():
    said = reporting.describe_bound(
        "Di-LADD", "tokens", {"eval_tokens_token_nats": 0.5, "eval_tokens_latent_nats": 0.0}
    )
    assert "given their codes 0.5000" in said
