"""The choices of the continuous path are flags, and settings of a recipe's file."""

from __future__ import annotations

import json

import yaml
from helpers.examples import recipes

CHOICES = {
    "latent_prediction_type": {"name": "preconditioned", "data_std": 0.7},
    "latent_noise_schedule": {"name": "tan", "d": 3},
    "latent_self_conditioning": True,
    "latent_unpooling": "chunk",
    "latent_unpooling_time": "signal",
    "adaptive_times": True,
}


def test_flags_and_a_file_say_the_same(tmp_path):
    base = {"latent_type": "continuous", "latent_length": 2, "latent_dim": 4, "max_steps": 4}
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump({**base, **CHOICES}))
    (tmp_path / "base.yaml").write_text(yaml.safe_dump(base))
    flags = [
        part
        for name, value in CHOICES.items()
        for part in (f"--{name}", value if isinstance(value, str) else json.dumps(value))
    ]
    for argv in ([str(tmp_path / "recipe.yaml")], [str(tmp_path / "base.yaml"), *flags]):
        parsed = recipes.parse_arguments([*argv, "--output_dir", str(tmp_path / "run")])
        model, arguments = parsed[1], parsed[-1]
        for name, value in CHOICES.items():
            assert getattr(arguments if name == "adaptive_times" else model, name) in (value, json.dumps(value)), name
