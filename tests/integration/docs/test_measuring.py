"""The page on measuring shows calls that work, and names every judge and measure with its numbers and options."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

import datasets
import torch
from helpers.causal_lms import causal_lm, word_tokenizer
from lm_eval.api.task import ConfigurableTask
from transformers import BertConfig, BertForMaskedLM

from ladd_hf import LaddConfig, LaddForDiffusionLM, LaddPipeline
from ladd_hf.data import character_tokenizer
from ladd_hf.metrics import MODEL_MEASURES
from ladd_hf.tasks import JUDGES, TextTask

PAGE = (Path(__file__).resolve().parents[3] / "docs" / "measuring.md").read_text()
ROWS = dict(re.findall(r"^\| `(\w+)` \|(.*)\|$", PAGE, re.MULTILINE))
TEXTS = [f"the cat sat on the mat and dog number {n} ran to the log" for n in range(60)]


def splits():
    parts = {"train": TEXTS[:40], "validation": TEXTS[40:]}
    return {name: datasets.Dataset.from_dict({"text": rows}) for name, rows in parts.items()}


def saved_models(folder, tokenizer):
    """Pipelines of a baseline and of a model with latents, a masked language model, and a corpus, in a folder."""
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "max_position_embeddings": 32}
    ids = {"vocab_size": len(tokenizer), "mask_token_id": tokenizer.mask_token_id}
    ids["pad_token_id"] = tokenizer.pad_token_id
    latents = {"latent_type": "discrete", "latent_length": 4, "latent_dim": 2, "codebook_size": 4}
    for name, kind in {"mdlm": {}, "di-ladd": latents}.items():
        pipeline = LaddPipeline(LaddForDiffusionLM(LaddConfig(**ids, **sizes, **kind)), tokenizer=tokenizer)
        pipeline.save_pretrained(folder / "out" / name)
    bert = BertConfig(vocab_size=len(tokenizer), pad_token_id=tokenizer.pad_token_id, intermediate_size=16, **sizes)
    BertForMaskedLM(bert).save_pretrained(folder / "their-bert")
    tokenizer.save_pretrained(folder / "their-bert")
    (folder / "my-texts").mkdir()
    (folder / "my-texts" / "train.txt").write_text("\n".join(TEXTS[:40]))
    (folder / "my-texts" / "validation.txt").write_text("\n".join(TEXTS[40:]))
    return pipeline


class Network(torch.nn.Module):
    """Anyone's network: logits `(B, S, V)`."""

    def __init__(self, size):
        super().__init__()
        self.layers = torch.nn.Sequential(torch.nn.Embedding(size, 8), torch.nn.Linear(8, size))

    def forward(self, ids, mask):
        return self.layers(ids)


def benchmark():
    """A task of lm-evaluation-harness with two questions."""
    rows = {"text": ["the cat sat", "the dog ran"], "choices": [[" on", " up"], [" to", " in"]], "answer": [0, 0]}
    data = {"test": datasets.Dataset.from_dict(rows)}
    texts = {"doc_to_text": "{{text}}", "doc_to_choice": "{{choices}}", "doc_to_target": "answer"}
    kind = {"output_type": "multiple_choice", "metric_list": [{"metric": "acc"}], "target_delimiter": ""}
    return ConfigurableTask(
        config={"task": "tiny", "custom_dataset": lambda **_: data, "test_split": "test", **texts, **kind}
    )


def test_its_calls_run_in_order(tmp_path, monkeypatch, tiny_model, capsys):
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")
    monkeypatch.setattr("evaluate.config.HF_METRICS_CACHE", str(tmp_path / "metrics"))
    monkeypatch.chdir(tmp_path)
    tokenizer = character_tokenizer()
    causal_lm(positions=32).save_pretrained(tmp_path / "judge")
    word_tokenizer().save_pretrained(tmp_path / "judge")
    pipeline = saved_models(tmp_path, tokenizer)
    names = {
        "torch": torch,
        "TextTask": TextTask,
        "splits": splits(),
        "tokenizer": tokenizer,
        "samples": torch.tensor([tokenizer(text).input_ids[:32] for text in TEXTS[:9]]),
        "training_texts": TEXTS[:40],
        "texts": TEXTS[40:],
        "judge_folder": str(tmp_path / "judge"),
        "model": tiny_model("discrete"),
        "batches": torch.randint(1, 10, (12, 12)).split(5),
        "pipeline": pipeline,
        "task": TextTask("words", splits(), tokenizer, length=32),
        "network": Network(len(tokenizer)),
        "tasks": [benchmark()],
    }
    blocks = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    assert len(blocks) == 10
    for block in blocks:
        given = {**names, "texts": torch.randint(1, 10, (6, 12))} if "model.nelbo" in block else names
        exec(block, given)
    assert {"nats", "nats_stderr", "entropy", "distinct_2", "memorized"} < set(names["judgement"])
    assert {path.name for path in (tmp_path / "out" / "evaluation").iterdir()} >= {"mdlm.json", "table.md"}
    assert set(names["results"].rows[0]) > {"nats", "flops"} and "bound" not in names["results"].rows[0]
    assert 0 <= names["scores"]["results"]["tiny"]["acc,none"] <= 1
    assert "under judge" in (said := capsys.readouterr().out) and "#### At equal floating-point operations" in said


def test_its_table_names_every_judge_with_its_measures_and_options():
    assert set(ROWS) == {*JUDGES, *MODEL_MEASURES}
    for name, cells in ROWS.items() - {(name, ROWS[name]) for name in MODEL_MEASURES}:
        measures, *_, options = cells.split(" | ")
        assert set(re.findall(r"`(\w+)`", re.sub(r"\(.*?\)", "", options))) == set(
            inspect.signature(JUDGES[name]).parameters
        )
        (*made,) = TextTask("words", splits(), character_tokenizer(), 32, judges=[name]).measures
        assert {made[0].name, made[-1].name} <= set(re.findall(r"`(\w+)`", measures))


def test_its_table_names_every_measure_of_models_with_its_numbers_and_options():
    for name, measure in MODEL_MEASURES.items():
        numbers, options = ROWS[name].split(" | ")
        assert set(re.findall(r"`(\w+)`", options)) == set(inspect.signature(measure).parameters)
        told = {re.sub(r"[\d.]+$", "<t>", number.name) for number in measure().numbers}
        assert set(re.findall(r"`([\w<>]+)`", numbers)) == told
