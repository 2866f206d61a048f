"""The pipelines that travel with the package load, write, and say what they are."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import torch
from huggingface_hub import ModelCard
from safetensors import safe_open

from ladd_hf import LaddPipeline, included_pipeline, included_pipelines
from ladd_hf.data import load_corpus
from ladd_hf.tasks import TextTask
from ladd_hf.utils.digests import fingerprint

NAMES = ("python-docs-di", "python-docs-mdlm")
ROOT = Path(__file__).resolve().parents[3]


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


@pytest.fixture
def record(folder):
    """What was measured of it, as `benchmarks/make_included_pipelines.py` left it."""
    return json.loads((ROOT / "benchmarks" / "results" / f"included-{folder.name}.json").read_text())


def test_what_was_measured_is_of_these_weights_at_these_temperatures(folder, record):
    pipe = LaddPipeline.from_pretrained(folder, dtype=torch.float32)
    assert record["model"]["fingerprint"] == fingerprint(pipe.model)
    found = record["model"]["scheduler"]
    assert {name: pipe.scheduler.config[name] for name in found if "temperature" in name or name == "path"} == {
        name: value for name, value in found.items() if "temperature" in name or name == "path"
    }


def test_the_metadata_of_its_card_is_the_table_of_its_text(folder, record):
    card = (folder / "README.md").read_text()
    section = card.split("## As it is here\n")[1].split("\n## ")[0]
    told = {row[0]: row[1:] for row in (line.strip("| ").split(" | ") for line in section.splitlines() if "|" in line)}
    results = ModelCard(card).data.eval_results
    kinds = {"nats per character": "{:.2f} ± {:.2f}", "unigram entropy in nats": "{:.2f}"}
    rows = {kind: [one for one in results if one.metric_name.startswith(f"{kind} (")] for kind in kinds}
    assert sum(map(len, rows.values())) == len(results)
    nats, entropies = (
        [kind.format(one.metric_value, one.metric_args["stderr"]) for one in rows[name]] for name, kind in kinds.items()
    )
    assert (told["nats per character"], told["entropy"]) == (nats, entropies)
    scheduler = record["model"]["scheduler"]
    for name in kinds:
        assert [str(one.metric_args["num_steps"]) for one in rows[name]] == told["evaluations"]
        assert {one.metric_args["temperature"] for one in rows[name]} == {scheduler["temperature"]} != {1.0}
        assert {one.metric_args.get("latent_temperature", 1.0) for one in rows[name]} == {
            scheduler["latent_temperature"]
        }


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
