"""lm-evaluation-harness with a pipeline: tasks of its own kinds, on data in memory."""

from __future__ import annotations

import math
from types import SimpleNamespace

import datasets
import pytest
import torch
from helpers.evaluations import ExactModel
from helpers.sampling import tiny_tokenizer
from lm_eval import simple_evaluate
from lm_eval.api.task import ConfigurableTask

from ladd_hf import LaddPipeline, LaddSequentialScheduler
from ladd_hf.evaluation import harness
from ladd_hf.evaluation.harness import LaddHarness
from ladd_hf.evaluation.scoring import TextScorer


def requests(*args):
    return [SimpleNamespace(args=one) for one in args]


@pytest.fixture
def harness_of(stirred_model):
    def build(kind="none", scheduler=None, overrides=None, **options):
        pipeline = LaddPipeline(stirred_model(kind, **(overrides or {})), scheduler, tiny_tokenizer())
        return LaddHarness(pipeline, **{"num_samples": 4, "num_steps": 4, **options})

    return build


PAIRS = [("abc", "def"), ("abcabcabc", "d"), ("", "fghi"), ("ab", "cdefghiab"), ("abcd", "efg")]


@pytest.mark.parametrize("kind", ["none", "vector"])
@pytest.mark.parametrize("proposals", [0, 3])
def test_likelihoods_do_not_depend_on_the_order_or_the_batch(harness_of, kind, proposals):
    whole = harness_of(kind, num_proposals=proposals, batch_size=9).loglikelihood(requests(*PAIRS))
    lone = harness_of(kind, num_proposals=proposals, batch_size="1").loglikelihood(requests(*PAIRS[::-1]))[::-1]
    assert [one[0] for one in whole] == pytest.approx([one[0] for one in lone], rel=1e-5)
    assert [one[1] for one in whole] == [one[1] for one in lone]
    assert all(nats < 0 for nats, _ in whole)
    other = harness_of(kind, num_proposals=proposals, seed=1).loglikelihood(requests(*PAIRS))
    assert [one[0] for one in other] != [one[0] for one in whole]


def test_a_continuation_is_scored_given_its_context_exactly_where_all_is_known():
    """One token after a context is masked at every point of the path: its bound is its likelihood."""
    world = ExactModel.at_random(codes=0, vocab=3, length=3)
    scorer = TextScorer(LaddPipeline(world), num_proposals=2, num_steps=1)
    contexts = [([0, 1], [2]), ([2, 2], [0]), ([], [1, 0, 2])]
    table = world.table
    expected = [table[0, 1, 2] / table[0, 1].sum(), table[2, 2, 0] / table[2, 2].sum()]
    firsts = [table.sum((1, 2))[1], table.sum((0, 2))[0], table.sum((0, 1))[2]]  # one step writes all three apart
    expected = [*map(math.log, expected), math.log(math.prod(firsts))]
    assert scorer.log_likelihoods(contexts) == pytest.approx(expected, rel=1e-6)
    assert scorer.is_greedy([([0, 1], [int(table[0, 1].argmax())])]) == [True]
    assert scorer.is_greedy([([0, 1], [int(table[0, 1].argmin())])]) == [False]


def test_rolling_scores_each_token_once_and_gives_the_last_block_context(harness_of, monkeypatch):
    seen, model = [], harness_of()
    monkeypatch.setattr(TextScorer, "log_likelihoods", lambda self, blocks: seen.extend(blocks) or [-1.0] * len(blocks))
    ids = [1 + place % 9 for place in range(29)]
    assert model.scorer.rolling_log_likelihood(ids) == -3.0
    assert [token for _, block in seen for token in block] == ids
    assert [len(context) for context, _ in seen] == [0, 0, 7]
    assert seen[2][0] + seen[2][1] == ids[-12:]
    assert model.scorer.rolling_log_likelihood([]) == 0


def test_rolling_of_a_short_text_is_its_likelihood(harness_of):
    model = harness_of()
    (alone,) = model.loglikelihood_rolling(requests(("abcdef",)))
    assert alone == model.loglikelihood(requests(("", "abcdef")))[0][0]


def test_generated_texts_stop_where_the_task_says(harness_of):
    model = harness_of(num_steps=8)
    (whole,) = model.generate_until(requests(("abc", {"max_gen_toks": 6})))
    assert len(whole) == 6
    (cut,) = model.generate_until(requests(("abc", {"max_gen_toks": 6, "until": [whole[3], "z"]})))
    assert cut == whole[: whole.index(whole[3])]
    assert model.generate_until(requests(("abc", {"max_gen_toks": 6, "until": ""}))) == [whole]
    (most,) = model.generate_until(requests(("abc" * 9, {"do_sample": True, "temperature": 2.0})))
    assert len(most) == 6  # half of the model's positions


def test_a_frame_begins_contexts_as_it_began_training_texts(harness_of, monkeypatch):
    seen = []
    framed = harness_of(overrides={"text_frame": {"packing": "wrap", "start": [9]}})

    def note(self, ids, *_, labels, **__):
        seen.append((ids, labels))

    monkeypatch.setattr(type(framed.pipeline.model), "nelbo", note)
    with pytest.raises(AttributeError):  # of what the stand-in does not return
        framed.scorer.log_likelihoods([([1, 2], [3])])
    ((ids, labels),) = seen
    assert ids.tolist() == [[9, 1, 2, 3]] and labels.tolist() == [[-100, -100, -100, 3]]


def test_proposals_have_the_width_that_is_given_and_results_say_it(harness_of):
    one, other = (harness_of("vector", num_proposals=3, proposal_width=width) for width in (None, 0.25))
    nats = [model.loglikelihood(requests(*PAIRS))[0][0] for model in (one, other)]
    assert nats[0] != nats[1]
    assert other.get_model_info()["bound"] == "marginalised, 3 proposals of width 0.25, 4 evaluations, seed 0"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"proposal_width": 0.5}, "give `num_proposals` as well"),
        ({"proposal_width": -1, "num_proposals": 2}, "`proposal_width` is -1"),
        ({"kind": "continuous"}, "give `num_proposals`"),
        ({"num_samples": 0}, "`num_samples` is 0"),
        ({"batch_size": "auto"}, "`batch_size` is 'auto'"),
    ],
)
def test_what_has_no_likelihood_is_refused(harness_of, options, message):
    with pytest.raises(ValueError, match=message):
        harness_of(**options)


def test_wrong_requests_are_refused_in_a_sentence(harness_of, stirred_model):
    model = harness_of()
    with pytest.raises(ValueError, match="A text to score has 13 tokens; this model scores 1 to 12"):
        model.loglikelihood(requests(("a", "bcdefghiabcde")))
    with pytest.raises(ValueError, match="generates with 'num_beams', which this model does not support"):
        model.generate_until(requests(("a", {"num_beams": 4})))
    with pytest.raises(ValueError, match="has no tokenizer"):
        LaddHarness(LaddPipeline(stirred_model("none")))
    with pytest.raises(ValueError, match="`dtype` is 'float3'"):
        LaddHarness("nowhere", dtype="float3")


def task(kind, **config):
    rows = {
        "question": ["abcd", "fghi", "aaab"],
        "choices": [["d", "ef"], ["i", "ab"], ["b", "cc"]],
        "answer": [0, 1, 0],
    }
    data = {"test": datasets.Dataset.from_dict(rows)}
    shared = {"task": f"tiny_{kind}", "custom_dataset": lambda **_: data, "test_split": "test", "output_type": kind}
    shared |= {"doc_to_text": "{{question}}", "doc_to_target": "answer", "target_delimiter": ""}
    return ConfigurableTask(config=shared | config)


def test_tasks_of_every_kind_run_by_the_models_name(stirred_model, tmp_path):
    pipeline = LaddPipeline(stirred_model("vector"), LaddSequentialScheduler(), tiny_tokenizer())
    pipeline.save_pretrained(tmp_path / "model")
    rolling = {"doc_to_text": "", "doc_to_target": "{{question}}", "metric_list": [{"metric": "bits_per_byte"}]}
    tasks = [
        task("multiple_choice", doc_to_choice="{{choices}}", metric_list=[{"metric": "acc"}]),
        task("loglikelihood_rolling", **rolling),
        task("generate_until", doc_to_target="{{question}}", generation_kwargs={"max_gen_toks": 2, "until": ["z"]}),
    ]
    arguments = f"pretrained={tmp_path / 'model'},num_samples=4,num_steps=2"
    found = simple_evaluate("ladd", model_args=arguments, tasks=tasks, batch_size=2, device="cpu", bootstrap_iters=0)
    scores = found["results"]
    assert 0 <= scores["tiny_multiple_choice"]["acc,none"] <= 1
    assert scores["tiny_loglikelihood_rolling"]["bits_per_byte,none"] > 0
    assert "exact_match,none" in scores["tiny_generate_until"]
    assert found["config"]["bound"] == "plain, 4 points, seed 0"
    again = simple_evaluate(LaddHarness(pipeline, 4, num_steps=2), tasks=tasks[:2], bootstrap_iters=0)["results"]
    assert again["tiny_loglikelihood_rolling"]["bits_per_byte,none"] == pytest.approx(
        scores["tiny_loglikelihood_rolling"]["bits_per_byte,none"], rel=1e-5
    )


@pytest.mark.parametrize(
    ("argv", "passed"),
    [
        (["--tasks", "x"], ["--tasks", "x", "--model", "ladd"]),
        (["--model", "hf", "--tasks", "x"], ["--model", "hf", "--tasks", "x"]),
        (["ls", "tasks"], ["ls", "tasks"]),
    ],
)
def test_the_command_is_lm_evals_with_this_model(monkeypatch, argv, passed):
    seen = []
    monkeypatch.setattr(harness._command, "cli_evaluate", lambda: seen.extend(harness.sys.argv))
    monkeypatch.setattr("sys.argv", ["python"])
    harness.main(argv)
    assert seen == ["lm-eval", *passed]


def test_scores_of_the_same_ids_are_the_same_on_any_row(harness_of):
    one = harness_of().scorer.log_likelihoods([([1], [2, 3])] * 3)
    assert len(set(one)) == 1 and math.isfinite(one[0]) and torch.is_grad_enabled()
