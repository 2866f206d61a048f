"""The page on the layout shows how to add a choice of one's own."""

from __future__ import annotations

import re
from pathlib import Path

import torch
from helpers.registries import kept

from ladd_hf import LaddForDiffusionLM

PAGE = (Path(__file__).resolve().parents[3] / "docs" / "architecture.md").read_text()


def test_its_calls_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (block,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    with kept():
        exec(block, {"__name__": __name__})
        model = LaddForDiffusionLM.from_pretrained("my-model")
        codes = model.encode_latents(torch.randint(0, 10, (5, 12)))
        assert codes.shape == (5, 4) and codes.min() >= 0 and codes.max() < 8
        vectors = model.quantizer.codes_to_vectors(codes)
        assert torch.equal(model.quantizer(vectors, True).codes, codes) and (vectors.abs() == 0.5).all()
