"""Samples that are drawn, scored and logged at evaluations: the pipeline's own, while training stays what it is."""

from __future__ import annotations

import math
import re
import statistics

import pytest
import torch
from helpers.adapters import WAYS, adapted
from helpers.training import assert_same, logged, state_of, texts, two_stages
from transformers import TrainerCallback

from ladd_hf import LaddPipeline, LaddScheduler, LaddSequentialScheduler, LogSamples
from ladd_hf.data import character_tokenizer
from ladd_hf.metrics import quality_by_evaluations
from ladd_hf.models.adapters import merged

EVALUATED = {"eval_strategy": "steps", "eval_steps": 2, "eval_on_start": True}


def total(ids):
    """A score that tells samples apart."""
    return {"total": float((ids * torch.arange(1, ids.numel() + 1).view_as(ids)).sum())}


def watched(make_trainer, model, folder="run", watch=None, **options):
    """A trainer with few samples, and its callback."""
    watch = watch or LogSamples([2, 5], 6, score=total)
    return make_trainer(
        model, folder, eval_data=options.pop("eval_data", texts(5, seed=1)), callbacks=[watch], **options
    )


def scores_of(metrics):
    return {
        name: value for name, value in metrics.items() if "_samples_" in name and not re.search("runtime|_per_", name)
    }


# --- training stays what it is ---


@pytest.mark.parametrize("kind", ["none", "continuous", "vector"])
def test_weights_and_logs_are_those_without_samples(kind, make_trainer, tiny_model):
    runs = []
    for folder in ("without", "with"):
        model = tiny_model(kind, attention_dropout=0.3)
        options = {"eval_data": texts(5, seed=1), **EVALUATED}
        trainer = (watched if folder == "with" else lambda make, *args, **kw: make(*args, **kw))(
            make_trainer, model, folder, **options
        )
        trainer.train()
        runs.append(trainer)
    without, sampled = runs
    assert_same(state_of(without), state_of(sampled))
    for name in ("loss", "grad_norm", "eval_loss"):
        assert logged(without, name) == logged(sampled, name), name
    assert len(logged(sampled, "eval_samples_2_total")) == 4


def test_the_generators_stay_where_they_stood_and_predictions_draw_nothing(make_trainer):
    trainer = watched(make_trainer, "discrete")
    torch.manual_seed(3)
    expected = torch.rand(3)
    torch.manual_seed(3)
    trainer.model.train()
    trainer.evaluate()
    assert torch.equal(torch.rand(3), expected)
    assert scores_of(trainer.predict(texts(3)).metrics) == {}


# --- what is sampled ---


@pytest.mark.parametrize("kind", ["none", "continuous", "separate", "discrete"])
def test_the_samples_are_those_of_the_saved_pipeline(kind, make_trainer, stirred_model, tmp_path):
    named = {"ordered": LaddSequentialScheduler(latent_share=0.4), "straight": LaddScheduler("sequential")}
    watch = LogSamples([2, 5], 6, named, total)
    trainer = watched(make_trainer, stirred_model(kind), watch=watch, max_steps=2, seed=3)
    trainer.train()
    found = scores_of(trainer.evaluate())
    for name, scheduler in named.items():
        trainer.save_pipeline(str(tmp_path / name), scheduler)
        pipeline = LaddPipeline.from_pretrained(str(tmp_path / name))
        pipeline.set_progress_bar_config(disable=True)
        expected = quality_by_evaluations(pipeline, [2, 5], total, 6, 6, seed=3)
        for budget, score in expected.items():
            assert found.pop(f"eval_samples_{name}_{budget}_total") == score["total"], (name, budget)
    assert found == {}


def test_the_averaged_weights_write_them(make_trainer, stirred_model):
    trainer = watched(make_trainer, stirred_model("discrete"), max_steps=2, learning_rate=0.05)
    trainer.train()
    found = scores_of(trainer.evaluate())
    trainer.ema.average = None
    assert scores_of(trainer.evaluate()) != found


@pytest.mark.parametrize("way", ["compiled", "other batches", "rounded"])
def test_they_are_the_same_however_the_model_is_run(way, make_trainer, stirred_model):
    options = {
        "compiled": {"torch_compile": True, "torch_compile_backend": "eager"},
        "other batches": {"per_device_eval_batch_size": 4},
        "rounded": {"bf16_full_eval": True},
    }[way]
    model = stirred_model("discrete")
    expected = scores_of(watched(make_trainer, model, "plain").evaluate())
    found = scores_of(watched(make_trainer, model, way, **options).evaluate())
    assert (found == expected) is (way != "rounded")
    assert model.dtype == torch.float32


@pytest.mark.parametrize("way", WAYS)
def test_an_adapter_writes_what_the_merged_model_writes(way, make_trainer, stirred_model):
    base, model = stirred_model("discrete"), adapted(stirred_model("discrete"), way)
    expected, of_base = (
        scores_of(watched(make_trainer, one, f"{number}").evaluate())
        for number, one in enumerate((merged(model), base))
    )
    assert scores_of(watched(make_trainer, model, "adapted").evaluate()) == expected != of_base


def test_without_a_score_it_is_the_entropy_of_the_texts_without_padding(make_trainer, stirred_model):
    lengths = {4: 1, 9: 1}
    model = stirred_model("none", text_lengths={str(length): count for length, count in lengths.items()})
    trainer = watched(make_trainer, model, watch=LogSamples([3], 20, show=20))
    metrics = trainer.evaluate()
    found, error = (metrics[f"eval_samples_3_entropy{end}"] for end in ("", "_stderr"))
    rows = [list(map(int, row.split())) for row in trainer._log_samples().last.texts[""][3]]
    assert {len(row) for row in rows} == set(lengths)
    shares = [[row.count(one) / len(row) for one in set(row)] for row in rows]
    entropies = [-sum(share * math.log(share) for share in of_row) for of_row in shares]
    assert found == pytest.approx(sum(entropies) / 20)
    assert error == pytest.approx(statistics.stdev(entropies) / 20**0.5, rel=0.15)


def test_texts_are_decoded(make_trainer, tiny_model):
    tokenizer = character_tokenizer("abcdefgh")
    ids = {
        "vocab_size": len(tokenizer),
        "mask_token_id": tokenizer.mask_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }
    model = tiny_model("none", **ids)
    data = [{"input_ids": torch.tensor(tokenizer("abcdefghabcd")["input_ids"])}] * 8
    watch = LogSamples([2], 6, show=2)
    trainer = make_trainer(
        model, data=data, eval_data=data, callbacks=[watch], trainer_options={"processing_class": tokenizer}
    )
    trainer.evaluate()
    assert len(watch.last.texts[""][2]) == 2 and set("".join(watch.last.texts[""][2])) <= set("abcdefgh ")


# --- stages ---


class Noted(TrainerCallback):
    """Notes what wrote the last samples, and clears them."""

    def __init__(self, watch):
        self.watch, self.abouts = watch, []

    def on_evaluate(self, args, state, control, **kwargs):
        self.abouts.append((state.global_step, self.watch.last.about))


def test_while_tokens_are_trained_alone_they_are_sampled_alone(make_trainer):
    watch = LogSamples([1, 4], 6, score=total)
    noted = Noted(watch)
    trainer = watched(make_trainer, "discrete", watch=watch, stages=two_stages(2, mdlm=2), max_steps=8, **EVALUATED)
    trainer.add_callback(noted)
    trainer.train()
    trainer.evaluate()
    alone, drawn, whole = "tokens alone", "tokens, given latents drawn at random", "latents and tokens"
    assert noted.abouts == [(0, alone), (2, alone), (4, drawn), (6, whole), (8, whole), (8, whole)]


def test_and_their_latents_are_not_asked(make_trainer, stirred_model):
    found = []
    for noise in (0.0, 1.0):
        model = stirred_model("discrete")
        trainer = watched(make_trainer, model, f"{noise}", max_steps=1, tokens_alone=True, learning_rate=0.0)
        trainer.train()
        with torch.no_grad():
            for parameter in model.latent_head.parameters():
                parameter.add_(noise)
        found.append(scores_of(trainer.evaluate()))
        assert model.config.latent_type == "discrete"
    assert found[0] == found[1]
    assert scores_of(watched(make_trainer, stirred_model("discrete"), "whole").evaluate()) != found[0]


# --- when ---


def test_every_other_evaluation_also_after_a_resume(make_trainer):
    def watch():
        return LogSamples([2], 4, score=total, every=2)

    options = {"max_steps": 8, "save_strategy": "steps", "save_steps": 4, **EVALUATED}
    whole = watched(make_trainer, "discrete", "whole", watch(), **options)
    whole.train()
    resumed = watched(make_trainer, "discrete", "resumed", watch(), **options)
    resumed.train(resume_from_checkpoint=f"{whole.args.output_dir}/checkpoint-4")
    name = "eval_samples_2_total"
    found, of_whole = (
        [(entry["step"], entry[name]) for entry in trainer.state.log_history if name in entry]
        for trainer in (resumed, whole)
    )
    assert [step for step, _ in of_whole] == [0, 4, 8] and len({score for _, score in of_whole}) > 1
    assert found == [*of_whole[:2], *of_whole[1:]], "the evaluation it starts with is that of step 4"
    assert name in resumed.evaluate() and name in resumed.evaluate(), "outside of training always"


def test_the_arguments_alone_are_enough_and_name_the_best_weights(make_trainer):
    options = {"save_strategy": "steps", "save_steps": 2, "load_best_model_at_end": True, "learning_rate": 3e-2}
    trainer = make_trainer(
        "discrete",
        eval_data=texts(5),
        sample_budgets=[2, 3],
        samples_per_budget=7,
        metric_for_best_model="samples_3_entropy",
        **{**EVALUATED, **options},
    )
    trainer.train()
    entropies = logged(trainer, "eval_samples_3_entropy")
    assert trainer.state.best_metric == max(entropies[1:]) and trainer._log_samples().last.scores[""].keys() == {2, 3}
    assert scores_of(make_trainer("none", "off", eval_data=texts(5)).evaluate()) == {}
    asked = LogSamples(score=total)
    trainer = make_trainer(
        "none", "both", eval_data=texts(5), callbacks=[asked], sample_budgets=[3], samples_per_budget=2
    )
    assert scores_of(trainer.evaluate()).keys() == {"eval_samples_3_total"} and len(asked.last.texts[""][3]) == 2


def test_several_data_sets_share_the_samples(make_trainer):
    calls = []
    watch = LogSamples([2], 4, score=lambda ids: calls.append(len(ids)) or {"n": 1.0})
    trainer = watched(make_trainer, "none", watch=watch, eval_data={"a": texts(3), "b": texts(4)}, **EVALUATED)
    found = trainer.evaluate()
    assert scores_of(found).keys() == {"eval_samples_2_n"} and calls == [4]
    assert {"eval_a_loss", "eval_b_loss"} <= found.keys()
    trainer.train()
    assert len(calls) == 1 + 4
    assert scores_of(trainer.evaluate(texts(3), metric_key_prefix="other")).keys() == {"other_samples_2_n"}


def test_a_score_that_is_no_finite_number_is_reported_as_it_is(make_trainer):
    watch = LogSamples([2], 4, score=lambda ids: {"nats": float("nan"), "most": torch.tensor(math.inf)})
    found = watched(make_trainer, "none", watch=watch).evaluate()
    assert math.isnan(found["eval_samples_2_nats"]) and found["eval_samples_2_most"] == math.inf
