"""The page on the layout shows how to add a choice of one's own."""

from __future__ import annotations

import re
from pathlib import Path

import torch
from helpers.registries import kept

from ladd_hf import LaddForDiffusionLM, LaddPipeline

PAGE = (Path(__file__).resolve().parents[3] / "docs" / "architecture.md").read_text()


def run_page():
    """Runs the page's blocks, one after the other, and returns what they define."""
    defined = {"__name__": __name__}
    for block in re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL):
        exec(block, defined)
    return defined


def test_each_worked_example_does_what_it_says(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with kept():
        page = run_page()
        # choices by name: the saved model has the quantiser
        model = LaddForDiffusionLM.from_pretrained("my-model")
        codes = model.encode_latents(torch.randint(0, 10, (5, 12)))
        assert codes.shape == (5, 4) and codes.min() >= 0 and codes.max() < 8
        vectors = model.quantizer.codes_to_vectors(codes)
        assert torch.equal(model.quantizer(vectors, True).codes, codes) and (vectors.abs() == 0.5).all()
        # a path
        assert page["written"].nfe == 8 and page["written"].sequences.shape == (2, 12)
        scheduler = LaddPipeline.from_pretrained("my-pipeline").scheduler
        scheduler.set_timesteps(8)
        assert scheduler.path.vertices == ((1, 1), (1, 0.3), (0, 0))
        assert [scheduler.moves_tokens(step) for step in range(8)] == [False] * 2 + [True] * 6
        assert page["bound"].nats_per_token > 0
        # a loss term
        parts = page["output"].loss_parts
        plain = page["model"](
            input_ids=page["texts"], labels=page["texts"], noise=page["TrainingNoise"](0, torch.arange(4))
        )
        torch.testing.assert_close(page["output"].loss, plain.loss + 1e-4 * parts["log_partition"])
        # a metric
        assert 1 / 12 <= page["judgement"]["distinct"] <= 2 / 12 and page["judgement"]["nats"] > 0
        # a judge
        assert 0 < page["with_ones"]["ones"] < 1 and page["with_ones"]["ones_stderr"] > 0
        # a corpus
        assert page["corpus"]["train"]["text"][1] == "A clock."
