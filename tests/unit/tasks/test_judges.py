"""Judges by name: each scores samples and the data itself, reads what it needs, and is refused where there is none."""

from __future__ import annotations

from dataclasses import dataclass, fields

import datasets
import numpy as np
import pytest
import torch
from helpers.causal_lms import causal_lm, word_tokenizer
from helpers.registries import kept

from ladd_hf.data import byte_level_bpe, character_tokenizer, sawtooth_dataset
from ladd_hf.metrics import (
    CausalJudge,
    Estimate,
    TrainingWindows,
    distinct,
    memorized_share,
    self_bleu,
    sliced_wasserstein,
    token_kl,
)
from ladd_hf.metrics.generative_perplexity import perplexities, text_nats
from ladd_hf.tasks import JUDGES, DecodedTexts, Measure, SawtoothTask, TextTask, likelihood_judges, register_judge
from ladd_hf.tasks.base import described_counts

WORDS = ["the cat sat on the mat", "a dog ran to the log", "the sun is hot and the sea is cold"]


def corpus(count=90):
    texts = [f"{WORDS[i % 3]} and {WORDS[(i * i + 1) % 3]} {i % 7} " for i in range(count)]
    splits = {"train": texts[: 2 * count // 3], "validation": texts[2 * count // 3 :]}
    return {name: datasets.Dataset.from_dict({"text": rows}) for name, rows in splits.items()}


@pytest.fixture(scope="module")
def judge_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("judges") / "small-judge"
    causal_lm(positions=64).save_pretrained(folder)
    word_tokenizer().save_pretrained(folder)
    return str(folder)


@pytest.fixture(scope="module")
def splits():
    return corpus()


def task_with(splits, *judges, tokenizer=None, length=16, **options):
    return TextTask("words", splits, tokenizer or character_tokenizer(), length, judges=judges, **options)


def samples(task, number=12):
    return torch.as_tensor(np.stack(task.eval_dataset(number, 0)[:]["input_ids"]).astype(np.int64))


def test_every_judge_scores_samples_and_the_data_with_errors(splits, judge_folder):
    causal = {"model": judge_folder, "device": "cpu"}
    named = {
        "mauve": {**causal, "clusters": 3, "seeds": 2},
        "generative_perplexity": causal,
        "memorization": {"window": 6},
    }
    task = task_with(splits, *({"name": name, **named.get(name, {})} for name in JUDGES))
    judgement, reference = task.judge(samples(task)), task.reference()
    names = [measure.name for measure in task.measures]
    assert list(judgement) == list(reference) == [one for name in names for one in (name, f"{name}_stderr")]
    assert {"nats", "entropy", "gen_ppl", "gen_ppl_mean", "mauve", "distinct_1", "self_bleu", "memorized"} < set(names)
    assert all(np.isfinite(value) for scores in (judgement, reference) for value in scores.values())
    about = {measure.name: measure.about + measure.metric for measure in task.measures}
    assert all("small-judge" in about[name] for name in ("gen_ppl", "gen_ppl_mean", "mauve"))


def test_without_a_choice_they_are_the_n_gram_model_and_the_entropy(splits):
    plain = TextTask("words", splits, character_tokenizer(), 16, judge_order=3)
    chosen = task_with(splits, {"name": "ngram", "order": 3}, "entropy")
    assert plain.judge(samples(plain)) == chosen.judge(samples(chosen))
    assert [measure.about for measure in plain.measures] == [measure.about for measure in chosen.measures]


def test_perplexity_reads_decoded_texts_with_the_judges_own_ends(splits, judge_folder):
    tokenizer = byte_level_bpe(splits["train"]["text"], 300)
    spec = {"name": "generative_perplexity", "model": judge_folder, "device": "cpu", "label": "ppl"}
    task = task_with(splits, spec, tokenizer=tokenizer, length=12)
    end = tokenizer.eos_token_id
    rows = [[*tokenizer("the cat sat").input_ids, end], [*tokenizer("the dog").input_ids, end, end]]
    longest = max(map(len, rows))
    ids = torch.tensor([row + [end] * (longest - len(row)) for row in rows])
    written = ["the cat sat<end>", "the dog<end>"]
    expected = perplexities(text_nats(CausalJudge(judge_folder, device="cpu"), written))
    judgement = task.judge(ids)
    assert judgement["ppl"] == pytest.approx(expected["perplexity"].value, rel=1e-5)
    assert judgement["ppl_mean"] == pytest.approx(expected["mean_perplexity"].value, rel=1e-5)


def test_ends_are_written_as_another_tokenizers():
    tokenizer = byte_level_bpe(WORDS, 300)
    end, pad = tokenizer.eos_token_id, tokenizer.pad_token_id
    row = [*tokenizer("the cat").input_ids, end, *tokenizer("a dog").input_ids, end, end, pad]
    texts = DecodedTexts(torch.tensor([row]), tokenizer)
    assert texts == ["the cata dog"] and texts.with_ends("<E>") == ["the cat<E>a dog<E><E>"]
    assert texts.with_ends(None) == ["the cata dog"]
    assert texts.content_ids() == [[*tokenizer("the cat").input_ids, *tokenizer("a dog").input_ids]]
    characters = character_tokenizer()
    without = DecodedTexts(torch.tensor([characters("a cat").input_ids]), characters)
    assert without.with_ends("<E>") == ["a cat"]


@pytest.mark.parametrize("unit", ["character", "token"])
def test_memorisation_is_searched_in_the_training_texts(unit, splits):
    tokenizer = byte_level_bpe(splits["train"]["text"], 300)
    task = task_with(splits, {"name": "memorization", "unit": unit, "window": 4}, tokenizer=tokenizer, length=12)
    ids = samples(task)
    if unit == "token":
        texts, given = [tokenizer(text).input_ids for text in splits["train"]["text"]], ids.tolist()
        special = set(tokenizer.all_special_ids)
        texts, given = ([[one for one in row if one not in special] for row in rows] for rows in (texts, given))
    else:
        texts, given = splits["train"]["text"], tokenizer.batch_decode(ids, skip_special_tokens=True)
    expected = memorized_share(TrainingWindows(texts, 4), given)
    assert task.judge(ids)["memorized"] == pytest.approx(expected.value)
    assert 0 < task.reference()["memorized"] <= 1


@pytest.mark.parametrize("unit", ["character", "word", "token"])
def test_diversity_is_of_a_unit(unit, splits):
    task = task_with(splits, {"name": "diversity", "unit": unit, "self_bleu_samples": 6}, "entropy")
    ids = samples(task)
    texts = task.tokenizer.batch_decode(ids)
    units = [text.split() for text in texts] if unit == "word" else texts
    judgement = task.judge(ids)
    assert judgement["distinct_2"] == pytest.approx(distinct(units, 2).value)
    assert judgement["self_bleu"] == pytest.approx(self_bleu(units, 6).value)


def test_distances_are_to_one_half_of_the_held_out_texts_and_of_the_data_between_halves(splits):
    task = task_with(splits, {"name": "distribution_distance", "projections": 8})
    held = samples(task, 10_000)
    half, other = held[::2].numpy(), held[1::2].numpy()
    options = {"projections": 8, "vocab_size": task.vocabulary["vocab_size"]}
    ids = samples(task)
    judgement, reference = task.judge(ids), task.reference()
    assert judgement["sliced_wasserstein"] == sliced_wasserstein(ids, half, **options).value
    assert judgement["token_kl"] == token_kl(ids, half).value
    assert reference["sliced_wasserstein"] == sliced_wasserstein(other, half, **options).value
    assert reference["token_kl"] == token_kl(other, half).value


OF_COUNT = ["distinct_1", "distinct_2", "distinct_3", "distinct_4", "self_bleu", "sliced_wasserstein", "token_kl"]


def test_the_data_is_scored_by_as_many_texts_as_samples_where_the_number_decides(splits):
    """Distinct-n falls with the number of texts, and a distance with it: the score of perfect samples has to be that of
    the data itself beside them."""
    judges = [{"name": "diversity", "self_bleu_samples": 8}, {"name": "distribution_distance", "projections": 4}]
    task = task_with(splits, *judges, "entropy", judge_held_out=24)
    held = task.held_out()
    assert len(held) == 24
    beside, alone = task.reference(6), task.reference()
    assert task.reference_counts(6) == dict.fromkeys(OF_COUNT, 6)
    perfect = DecodedTexts(held.ids[[0, 5, 9, 14, 18, 23]], task.tokenizer)  # spread over them
    assert beside["distinct_2"] == distinct(perfect, 2).value > alone["distinct_2"]
    assert beside["self_bleu"] == self_bleu(perfect, 8).value
    other, half = held.ids[1::2][[0, 2, 4, 7, 9, 11]].numpy(), held.ids[::2].numpy()
    assert beside["token_kl"] == token_kl(other, half).value
    assert beside["entropy"] == alone["entropy"]  # a mean over texts, of all that there are
    fewer = task.reference_counts(20)
    assert (fewer["distinct_1"], fewer["token_kl"]) == (20, 12)
    told = described_counts(fewer, 20)
    assert "token_kl, which depend on the number of texts, are of 12: fewer than the 20 samples" in told
    assert "are of 20." in told and described_counts({}, 20) == ""


def test_twice_as_many_fresh_sequences_as_samples_are_enough():
    task = SawtoothTask(8, ["distribution_distance"], judge_held_out=80)
    assert task.reference_counts(40) == {"sliced_wasserstein": 40, "token_kl": 40}
    assert SawtoothTask(8).reference_counts(40) == {} and SawtoothTask(8).reference(40) == SawtoothTask(8).reference()


def test_the_sawtooth_has_further_judges_that_need_no_texts():
    few = {"name": "diversity", "self_bleu_samples": 20}
    task = SawtoothTask(8, judges=[{"name": "distribution_distance", "projections": 16}, "entropy", few])
    reference = task.reference()
    perfect = task.judge(sawtooth_dataset(500, 8, seed=3)[:]["input_ids"])
    noise = task.judge(torch.randint(0, 2, (500, 8), generator=torch.Generator().manual_seed(0)))
    assert list(perfect)[:2] == ["nats", "nats_stderr"] and reference["nats_stderr"] == 0
    far, near = noise["sliced_wasserstein"], perfect["sliced_wasserstein"]
    assert far > near + 3 * perfect["sliced_wasserstein_stderr"] > reference["sliced_wasserstein"]
    for name in ("ngram", "mauve", "generative_perplexity", "memorization"):
        with pytest.raises(ValueError, match=f"judge '{name}' reads texts, and binary sawtooth, length 8 has none"):
            SawtoothTask(8, judges=[name])


@pytest.mark.parametrize(
    ("judges", "message"),
    [
        (["gpt"], r"judge 'gpt' is unknown; give one of \['distribution_distance', 'diversity'"),
        ([{"name": "ngram", "size": 2}], "judge 'ngram' has no option 'size'; it takes `order`"),
        ([{"name": "ngram", "order": 0}], "`judges.ngram.order` is 0; give a whole number"),
        ([{"name": "diversity", "unit": "line"}], "`judges.diversity.unit` is 'line'; give one of 'character'"),
        ([{"model": "gpt2"}], "judge is .*give its name"),
        ("ngram", "`judges` is 'ngram'; give a list"),
        ([], "`judges` is empty"),
        (["ngram", "ngram"], "have a measure 'nats'"),
        (["generative_perplexity"] * 2, "have a measure 'gen_ppl'.*another `label`"),
    ],
)
def test_what_names_no_judge_is_refused_before_anything_is_read(judges, message, splits):
    with pytest.raises(ValueError, match=message):
        TextTask("words", splits, character_tokenizer(), 16, judges=judges)


def test_a_judge_that_cannot_be_loaded_is_told_where_it_is_asked_first(splits, tmp_path):
    task = task_with(splits, {"name": "generative_perplexity", "model": str(tmp_path / "gone")})
    with pytest.raises(ValueError, match="judge 'gone' cannot be loaded"):
        task.reference()


# Another value of each option of the judges; a new option needs one, too.
OTHER_OPTIONS = {
    "clusters": 7,
    "dtype": "bfloat16",
    "first_seed": 3,
    "label": "ppl",
    "max_text_length": 9,
    "model": "gpt2",
    "order": 3,
    "projections": 5,
    "pseudocount": 0.25,
    "scaling_factor": 2.0,
    "seed": 4,
    "seeds": 2,
    "self_bleu_samples": 7,
    "stride": 3,
    "tokenizer": "gpt2",
    "unit": "token",
    "window": 5,
}
NO_NUMBER_DEPENDS_ON = ("batch_size", "device")  # but for rounding


@pytest.mark.parametrize(
    ("name", "option"), [(name, one.name) for name, judge in JUDGES.items() for one in fields(judge)]
)
def test_what_a_judge_depends_on_is_in_its_description(name, option, splits):
    described = [
        [(one.name, one.metric, one.about) for one in task_with(splits, {"name": name, **given}).measures]
        for given in ({}, {option: OTHER_OPTIONS.get(option, 3 if option == "batch_size" else "cpu")})
    ]
    assert (described[0] == described[1]) == (option in NO_NUMBER_DEPENDS_ON)


def test_a_folder_with_other_weights_is_another_judge(splits, tmp_path):
    def told():
        return task_with(splits, {"name": "generative_perplexity", "model": str(tmp_path / "judge")}).measures[0].about

    causal_lm().save_pretrained(tmp_path / "judge")
    word_tokenizer().save_pretrained(tmp_path / "judge")
    before = told()
    assert told() == before and str(tmp_path) not in before
    causal_lm(seed=1).save_pretrained(tmp_path / "judge")
    assert told() != before


def test_a_model_may_be_given_as_an_object_and_is_described_by_its_weights(splits, judge_folder):
    model, tokenizer = causal_lm(positions=64), word_tokenizer()
    named = {"model": judge_folder, "device": "cpu"}
    mauve = {"name": "mauve", "clusters": 3, "seeds": 2}
    tasks = [
        task_with(splits, {"name": "generative_perplexity", **given}, {**mauve, **given})
        for given in ({"model": model, "tokenizer": tokenizer}, named)
    ]
    first, second = (task.judge(samples(task)) for task in tasks)
    assert first == pytest.approx(second, rel=1e-5)

    def told(**given):
        return [one.about for one in task_with(splits, {"name": "generative_perplexity", **given}, mauve).measures]

    about = told(model=model, tokenizer=tokenizer)
    assert about == told(model=causal_lm(positions=64), tokenizer=word_tokenizer())
    other = causal_lm(positions=64, seed=1)
    other.config.name_or_path = model.config.name_or_path = "gpt2-large"  # which says nothing of the weights
    for another in (
        {"model": other, "tokenizer": tokenizer},
        {"model": model, "tokenizer": word_tokenizer(words=["other"])},
        {"model": causal_lm(positions=64).bfloat16(), "tokenizer": tokenizer},
    ):
        assert told(**another)[0] != about[0] and "gpt2-large" not in told(**another)[0]
    parameters = sum(one.numel() for one in model.parameters())
    assert f"perplexity under a GPT2LMHeadModel of {parameters:,} parameters (weights " in about[0]


@pytest.mark.parametrize("name", ["generative_perplexity", "mauve"])
def test_objects_that_are_no_judges_are_refused_at_once(name, splits):
    for given, message in (
        ({"model": 3}, f"`judges.{name}.model` is 3; give a causal LM of transformers, its name or folder"),
        ({"model": "gpt2", "tokenizer": 3}, f"`judges.{name}.tokenizer` is 3; give a tokenizer of transformers"),
        ({"model": causal_lm()}, "was given without its tokenizer"),
        ({"model": causal_lm(), "tokenizer": word_tokenizer(), "dtype": "bfloat16"}, "move the model before it is"),
    ):
        with pytest.raises(ValueError, match=message):
            task_with(splits, {"name": name, **given})


def test_two_judges_of_one_model_share_it(splits, judge_folder, monkeypatch):
    loaded = []

    class Counted(CausalJudge):
        def __init__(self, *given, **options):
            loaded.append(given)
            super().__init__(*given, **options)

    monkeypatch.setattr(likelihood_judges, "CausalJudge", Counted)
    spec = {"model": judge_folder, "device": "cpu", "batch_size": 5}
    mauve = {"name": "mauve", "clusters": 2, "seeds": 1, **spec}
    task = task_with(splits, {"name": "generative_perplexity", **spec}, mauve)
    assert loaded == []
    task.reference()
    assert loaded == [(judge_folder, None, 5)]


def test_samples_are_compared_by_the_first_judge(splits):
    task = task_with(splits, "diversity", "ngram")
    assert task.comparison == "distinct_1 vs MDLM"
    assert task.compare({"distinct_1": 0.5}, {"distinct_1": 0.4}) == pytest.approx(-0.2)
    with pytest.raises(ValueError, match="baseline's distinct_1 is 0"):
        task.compare({"distinct_1": 0.0}, {"distinct_1": 0.4})
    assert task_with(splits, "ngram").comparison == "perplexity vs MDLM"


def test_a_judge_of_ones_own_is_a_class_and_a_name(splits):
    with kept():

        @register_judge("shortness")
        @dataclass(frozen=True)
        class Shortness:
            limit: int = 5

            def measures(self, data):
                share = f"the share of samples below {self.limit} characters, on {data.name}"
                return (Measure("short", "share of short samples", share, self.score),)

            def score(self, texts):
                return Estimate(sum(len(text) < self.limit for text in texts) / len(texts), 0.25)

        task = task_with(splits, {"name": "shortness", "limit": 20}, "entropy")
        judgement = task.judge(samples(task))
        assert judgement["short"] == 1 and judgement["short_stderr"] == 0.25 and "entropy" in judgement
    with pytest.raises(ValueError, match="unknown"):
        task_with(splits, "shortness")


def test_a_judge_may_be_given_as_an_object(splits):
    class Length:
        def measures(self, data):
            return (Measure("length", "characters", "the length", lambda texts: float(np.mean([*map(len, texts)]))),)

    task = task_with(splits, Length())
    assert task.judge(samples(task)) == {"length": 16.0}


def test_memorisation_says_how_much_of_the_training_texts_it_searches(splits):
    (measure,) = task_with(splits, {"name": "memorization", "window": 6}, judge_characters=123).measures
    assert "of which the first 123 characters are searched" in measure.about
