"""Figures for model cards that nobody has measured."""

from __future__ import annotations

from ladd_hf.training.model_card import Conditions, SampleScores, Temperatures

CONDITIONS = Conditions("letters of nothing", "bfloat16", 3, "an abacus")
SAMPLES = SampleScores(
    {"joint": {2: 0.75, 8: 0.5}, "sequential": {8: 0.25}},
    "nats per token",
    "Nats per token, measured.",
    CONDITIONS,
    num_samples=1234,
    temperatures=Temperatures(0.5),
    floor=0.125,
)
