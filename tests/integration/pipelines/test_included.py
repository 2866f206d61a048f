"""The pipelines that travel with the package load, write, and say what they are."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch
from safetensors import safe_open

from ladd_hf import LaddPipeline, included_pipeline, included_pipelines
from ladd_hf.data import load_corpus
from ladd_hf.tasks import TextTask

NAMES = ("python-docs-di", "python-docs-mdlm")


@pytest.fixture(scope="module", params=NAMES)
def folder(request):
    return Path(included_pipeline(request.param))


def test_there_are_two():
    assert included_pipelines() == list(NAMES)


def test_another_name_is_refused_with_those_there_are():
    with pytest.raises(ValueError, match=r"'gpt2'.*python-docs-di, python-docs-mdlm"):
        included_pipeline("gpt2")


def test_it_writes_words_in_few_evaluations(folder):
    pipe = LaddPipeline.from_pretrained(folder, dtype=torch.float32)
    pipe.set_progress_bar_config(disable=True)
    output = pipe(num_steps=8, batch_size=4, generator=torch.Generator().manual_seed(0))
    known = set(re.findall(r"\w+", (Path(__file__).resolve().parents[3] / "docs" / "concepts.md").read_text().lower()))
    for text in output.texts:
        assert re.fullmatch("[a-z ]{64}", text)
        assert known & set(text.split())
    assert output.nfe == 8


def test_it_is_small_and_in_bfloat16(folder):
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) <= 6_000_000
    with safe_open(folder / "model" / "model.safetensors", "pt") as weights:
        types = {weights.get_slice(name).get_dtype() for name in weights.keys()}  # noqa: SIM118
    assert "BF16" in types and types <= {"BF16", "F32", "I64", "BOOL"}


def test_its_card_shows_how_to_load_it_and_what_the_rounded_weights_score(folder):
    card = (folder / "README.md").read_text()
    assert f'LaddPipeline.from_pretrained(included_pipeline("{folder.name}"))' in card
    scores = re.search(r"## As it is here\n.*?\| nats per character \| (.*?) \|\n", card, re.DOTALL)[1]
    nats = [float(one.split(" ± ")[0]) for one in scores.split(" | ")]
    assert nats == sorted(nats, reverse=True) and len(nats) == 5  # better with more evaluations


def test_the_cards_scores_are_those_of_its_samples(folder):
    pipe = LaddPipeline.from_pretrained(folder, dtype=torch.float32)
    pipe.set_progress_bar_config(disable=True)
    task = TextTask("python-docs", load_corpus("python-docs"), pipe.tokenizer, 64)
    samples = pipe(num_steps=4, batch_size=100, generator=torch.Generator().manual_seed(0)).sequences
    found, card = task.judge(samples), (folder / "README.md").read_text()
    (cells,) = re.findall(r"## As it is here\n.*?\| nats per character \| (.*?) \|\n\| entropy", card, re.DOTALL)
    told = float(cells.split(" | ")[1].split(" ± ")[0])
    assert abs(found["nats"] - told) < 5 * found["nats_stderr"]
