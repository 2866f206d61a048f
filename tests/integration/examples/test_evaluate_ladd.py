"""The bound of a saved model on a corpus, in one command."""

from __future__ import annotations

import json
import math
from types import SimpleNamespace

import pytest
import torch
from helpers.encoders import word_pieces
from helpers.examples import evaluate_ladd

from ladd_hf import LaddConfig, LaddForDiffusionLM, LaddPipeline, LaddTrainer, LaddTrainingArguments
from ladd_hf.data import byte_level_bpe, character_tokenizer, corpora, load_corpus, text_layout, token_blocks
from ladd_hf.data.text8 import Text8
from ladd_hf.evaluation import task_for
from ladd_hf.metrics import code_usage
from ladd_hf.tasks import TextTask

LATENTS = {
    "none": {},
    "continuous": {"latent_type": "continuous", "latent_length": 4, "latent_dim": 3},
    "discrete": {
        "latent_type": "discrete",
        "latent_length": 4,
        "latent_dim": 2,
        "quantizer": {"name": "finite_scalar", "levels": [3, 3]},
    },
}


BOUNDS = ("--num_samples", 0, "--budgets", 2)  # bounds in continuous time, and the cost of one run


def evaluate(*flags: object) -> None:
    """The script, in this process."""
    evaluate_ladd.main([str(flag) for flag in (*flags, "--cpu")])


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Pipelines, a model with its tokenizer, one without, and texts."""
    folder, tokenizer = tmp_path_factory.mktemp("evaluate"), character_tokenizer()
    for kind, latents in LATENTS.items():
        sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "max_position_embeddings": 12}
        ids = {"mask_token_id": tokenizer.mask_token_id, "pad_token_id": tokenizer.pad_token_id}
        model = LaddForDiffusionLM(LaddConfig(vocab_size=len(tokenizer), **ids, **sizes, **latents))
        LaddPipeline(model, tokenizer=tokenizer).save_pretrained(folder / kind)
    model.save_pretrained(folder / "model")
    tokenizer.save_pretrained(folder / "model")
    LaddPipeline(model).save_pretrained(folder / "no tokenizer")
    (folder / "texts").mkdir()
    (folder / "texts" / "test.txt").write_text(
        "all happy families are alike and each unhappy one is so in its way " * 8
    )
    return folder


@pytest.fixture
def measure(folder, tmp_path, monkeypatch):
    """`measure(name, *flags)`: what the script writes of the model, without samples unless they are asked for."""
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")
    calls = []

    def run(name, *flags):
        calls.append(name)
        out = tmp_path / f"out {len(calls)}"
        evaluate(folder / name, "--data", folder / "texts", "--results", out, "--json", tmp_path / "out.json", *flags)
        (found,) = json.loads((tmp_path / "out.json").read_text())["models"]
        return found

    return run


@pytest.mark.parametrize("kind", LATENTS)
def test_it_is_the_trainers_bound_of_the_test_split(measure, folder, kind, tmp_path, capsys):
    found = measure(kind, "--length", 8, "--samples", 2, "--seed", 3, *BOUNDS)
    pipeline = LaddPipeline.from_pretrained(folder / kind)
    texts = load_corpus(folder / "texts", "test", cache_dir=str(tmp_path / "cache"))
    blocks = token_blocks(texts, pipeline.tokenizer, 8, remainder="drop", separator=" ")
    paths = ["joint"] if kind == "none" else ["joint", "sequential"]
    options = LaddTrainingArguments(
        str(tmp_path), nelbo_paths=paths, nelbo_samples=2, seed=3, use_cpu=True, disable_tqdm=True
    )
    metrics = LaddTrainer(pipeline.model, options, eval_dataset=blocks).evaluate()
    said = capsys.readouterr().out
    assert all(bound["texts"] == len(blocks) for bound in found["bounds"].values())
    assert found["task"]["length"] == 8 and found["task"]["held_out"]["split"] == "test"
    assert list(found["bounds"]) == (["tokens"] if kind == "none" else paths)
    for path, bound in zip(paths, found["bounds"].values(), strict=True):
        assert bound["nats_per_token"] == pytest.approx(metrics[f"eval_{path}_nelbo"], rel=1e-6)
        assert bound["token_nats"] == pytest.approx(metrics[f"eval_{path}_token_nats"], rel=1e-6)
        assert bound["nats_per_token"] == pytest.approx(bound["token_nats"] + bound["latent_nats"])
        assert bound["nats_per_token_stderr"] > 0
        if kind == "continuous":
            assert bound["perplexity"] is None
        else:
            assert math.log(bound["perplexity"]) == pytest.approx(bound["nats_per_token"])
        assert f"| {bound['nats_per_token']:.4f} ± " in said


def test_without_budgets_there_are_samples_at_some_by_the_saved_schedule(measure, folder):
    (folder / "whole").mkdir()
    for split in ("train", "test"):
        (folder / "whole" / f"{split}.txt").write_text("all happy families are alike " * 9)
    found = measure("none", "--data", folder / "whole", "--num_samples", 3, "--num_sequences", 2)
    assert [(row["schedule"], row["num_steps"]) for row in found["rows"]] == [("saved", n) for n in (2, 4, 8, 16, 32)]
    assert all({"nats", "entropy", "flops"} < set(row) for row in found["rows"]) and list(found["bounds"]) == ["tokens"]


def test_samples_have_the_length_of_the_texts(measure, folder, monkeypatch):
    seen, real = set(), TextTask.judge
    monkeypatch.setattr(TextTask, "judge", lambda self, ids: seen.add(ids.shape[1]) or real(self, ids))
    flags = ("--length", 7, "--budgets", 2, "--num_samples", 3, "--num_sequences", 0, "--timing_rounds", 1)
    (folder / "both").mkdir()
    for split in ("train", "test"):
        (folder / "both" / f"{split}.txt").write_text("all happy families are alike " * 9)
    found = measure("none", "--data", folder / "both", *flags)
    assert seen == {7} and found["bounds"] == {}
    whole = measure("none", "--data", folder / "both", *flags, "--length", 12)
    assert found["rows"][0]["flops"] < whole["rows"][0]["flops"]


def test_the_model_may_be_measured_beside_the_bound(measure, folder, tmp_path, capsys):
    measures = ("--measures", "code_usage", "{name: latent_usefulness, token_times: [1]}")
    found = measure("discrete", "--length", 8, *measures, *BOUNDS)
    pipeline = LaddPipeline.from_pretrained(folder / "discrete")
    texts = load_corpus(folder / "texts", "test", cache_dir=str(tmp_path / "cache"))
    blocks = token_blocks(texts, pipeline.tokenizer, 8, remainder="drop", separator=" ")
    usage = code_usage(pipeline.model, [torch.stack([torch.as_tensor(row["input_ids"]).long() for row in blocks])])
    entry = found["measures"]["code_usage"]
    assert entry["texts"] == len(blocks) and entry["scores"]["codes_dead"] == usage.dead
    assert entry["scores"]["codes_perplexity"] == pytest.approx(usage.perplexity.value)
    assert entry["scores"]["codes_perplexity_stderr"] == pytest.approx(usage.perplexity.stderr)
    said = capsys.readouterr().out
    assert f"| codes that do not occur | {usage.dead:.1f} ± " in said
    assert "| nats per masked token that own latents are worth at t_x = 1 | " in said
    assert f"* code_usage, of {len(blocks):,} held-out texts: exp of the entropy" in said
    assert measure("none", "--length", 8, *BOUNDS)["measures"] == {}
    lacking = measure("none", "--length", 8, *measures, *BOUNDS)["measures"]
    assert lacking["code_usage"]["lacking"] == "codes"
    assert "code_usage is left out: the model has no codes." in capsys.readouterr().out


SENTENCES = ["the cat sat on the mat", "a dog ran to the log", "the sun is hot and the sea is cold"] * 9
TOKENIZERS = {
    "characters": character_tokenizer(),
    "word pieces, CLS and SEP": word_pieces(SENTENCES),
    "byte-level BPE, EOS": byte_level_bpe(SENTENCES, 300),
}


def blocks_of(config, tokenizer, data, **options):
    """The held-out blocks of the script's task for a model with this configuration."""
    pipeline = SimpleNamespace(model=SimpleNamespace(config=config), tokenizer=tokenizer)
    task = task_for(pipeline, str(data), num_samples=0, **options)
    return task.eval_dataset(10_000, 0)


def blocks_of_script_and_task(data, tokenizer, tmp_path, packing="pack", **options):
    """Rows of ids: as the script has them by default, and as the task of a training run with these options does."""
    splits = load_corpus(data, cache_dir=str(tmp_path / "cache"))
    task = TextTask("texts", {"train": splits["test"], "test": splits["test"]}, tokenizer, 12, packing, **options)
    config = SimpleNamespace(max_position_embeddings=12, latent_type="none")
    found = blocks_of(config, tokenizer, data, packing=packing), task.eval_dataset(10_000, 0)
    return [[row["input_ids"].tolist() for row in blocks] for blocks in found]


@pytest.mark.parametrize("packing", ["pack", "pad"])
@pytest.mark.parametrize("tokenizer", TOKENIZERS)
def test_it_packs_documents_as_a_training_run_does(tokenizer, packing, tmp_path, monkeypatch):
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")
    (tmp_path / "texts" / "test").mkdir(parents=True)
    for number, text in enumerate(SENTENCES):
        (tmp_path / "texts" / "test" / f"{number:02}.txt").write_text(text)
    ours, trained = blocks_of_script_and_task(tmp_path / "texts", TOKENIZERS[tokenizer], tmp_path, packing)
    assert ours == trained and len(ours) > 10


@pytest.mark.parametrize(
    "options",
    [{"packing": "wrap"}, {"packing": "pad"}, {"packing": "pad", "fill": "eos"}],
    ids=["wrapped", "padded", "filled"],
)
def test_blocks_are_those_of_the_models_training_unless_it_is_told_otherwise(options, tmp_path, monkeypatch):
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts" / "test.txt").write_text("\n".join(SENTENCES))
    tokenizer = TOKENIZERS["word pieces, CLS and SEP"]
    texts = load_corpus(tmp_path / "texts", cache_dir=str(tmp_path / "cache"))["test"]
    task = TextTask("texts", {"train": texts, "test": texts}, tokenizer, 12, **options)
    trained = task.train_dataset(100, 0)
    config = LaddConfig(**task.vocabulary, max_position_embeddings=12, **text_layout(trained))
    found = blocks_of(config, tokenizer, tmp_path / "texts")
    assert [row["input_ids"].tolist() for row in found] == [row["input_ids"].tolist() for row in trained]
    packed = blocks_of(config, tokenizer, tmp_path / "texts", packing="pack")
    assert packed[0]["input_ids"][0] not in (tokenizer.cls_token_id, tokenizer.sep_token_id)


@pytest.mark.parametrize("tokenizer", TOKENIZERS)
def test_it_packs_text8_as_its_recipe_does(tokenizer, tmp_path, monkeypatch):
    text = " ".join(SENTENCES)
    (tmp_path / "text8").write_text(text)
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")
    monkeypatch.setattr(Text8, "_piece", 50)
    monkeypatch.setitem(
        corpora.CORPORA._entries, "text8", Text8(sizes=(40, 10, len(text) - 50), path=tmp_path / "text8")
    )
    ours, trained = blocks_of_script_and_task("text8", TOKENIZERS[tokenizer], tmp_path, separator="")
    assert ours == trained and len(ours) > 10
    if tokenizer == "characters":
        assert text[50:].startswith("".join(TOKENIZERS[tokenizer].batch_decode(ours)))


def test_special_tokens_and_separators_are_as_they_are_told(tmp_path, monkeypatch):
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")
    (tmp_path / "texts" / "test").mkdir(parents=True)
    for number, text in enumerate(SENTENCES[:9]):
        (tmp_path / "texts" / "test" / f"{number}.txt").write_text(text)
    tokenizer = TOKENIZERS["word pieces, CLS and SEP"]
    config = SimpleNamespace(max_position_embeddings=12, latent_type="none")
    texts = load_corpus(tmp_path / "texts", "test", cache_dir=str(tmp_path / "cache"))
    for given, options in (
        ({"special_tokens": False}, {"special_tokens": False}),
        ({"separator": " cat "}, {"separator": " cat "}),
        ({"special_tokens": False, "separator": "cat"}, {"special_tokens": False, "separator": "cat"}),
    ):
        expected = token_blocks(texts, tokenizer, 12, remainder="drop", **options)
        found = blocks_of(config, tokenizer, tmp_path / "texts", **given)
        assert [row["input_ids"].tolist() for row in found] == [row["input_ids"].tolist() for row in expected]


def test_a_model_that_was_saved_with_its_tokenizer_will_do(measure):
    found = [measure(name, "--num_sequences", 4, *BOUNDS)["bounds"] for name in ("model", "discrete")]
    assert found[0] == found[1]


@pytest.mark.parametrize("name", ["mine.txt", "test.txt"])
def test_a_file_by_itself_is_measured_whole(measure, folder, name, tmp_path):
    (tmp_path / name).write_bytes((folder / "texts" / "test.txt").read_bytes())
    alone, in_folder = measure("none", "--data", tmp_path / name, *BOUNDS), measure("none", *BOUNDS)
    assert alone["task"]["held_out"]["split"] == "all" and alone["bounds"] == in_folder["bounds"]
    part = measure("none", "--data", tmp_path / name, "--split", "validation", *BOUNDS)
    assert part["task"]["held_out"]["split"] == "validation" and part["bounds"] != alone["bounds"]


def test_some_sequences_are_spread_over_the_split_whatever_the_batch(measure):
    few = measure("none", "--num_sequences", 5, *BOUNDS)
    assert few["bounds"]["tokens"]["texts"] == few["settings"]["num_sequences"] == 5 and few["task"]["length"] == 12
    bound = measure("none", "--num_sequences", 5, "--batch_size", 2, *BOUNDS)["bounds"]["tokens"]["nats_per_token"]
    assert bound == pytest.approx(few["bounds"]["tokens"]["nats_per_token"], rel=1e-6)


@pytest.mark.parametrize(
    ("name", "flags", "message"),
    [
        ("none", ("--length", 13, *BOUNDS), "`length` is 13, but the model has 12 positions"),
        ("none", ("--split", "train", *BOUNDS), "has no split 'train', but 'test'"),
        ("none", ("--budgets", 2), "was read without training texts, which judges read"),
        ("no tokenizer", BOUNDS, "has no tokenizer, which the texts of"),
        ("nowhere", BOUNDS, "nowhere"),
    ],
)
def test_what_can_not_be_evaluated_is_said_in_a_sentence(measure, name, flags, message):
    with pytest.raises(SystemExit, match=message):
        measure(name, *flags)


@pytest.mark.parametrize(
    ("flags", "message"),
    [(("--samples", 0), "--samples is 0"), (("--json", "nowhere/x.json"), "--json nowhere/x.json is in no folder")],
)
def test_flags_that_can_not_work_are_named(folder, flags, message, capsys):
    with pytest.raises(SystemExit):
        evaluate(folder / "none", "--data", "python-docs", *flags)
    assert message in capsys.readouterr().err
