"""The main job on texts that are padded, in a process of its own: it says on stderr what it leaves out."""

from __future__ import annotations

import json
import math

from helpers.example_runs import TINY, train_apart


def test_padded_texts_train_both_models_on_those_that_are_as_long_as_the_latents_are_many(tmp_path):
    for split in ("train", "validation"):
        lines = [f"cat {'s' * number} on a mat" if number % 3 else "ab" for number in range(30)]
        (tmp_path / f"{split}.txt").write_text("\n".join(lines))
    sizes = "--length 16 --latent_length 4 --codebook_size 20 --hidden_size 32 --num_hidden_layers 1"
    flags = (*sizes.split(), *TINY, "--sample_by", "line", "--packing", "pad", "--output_dir", str(tmp_path / "out"))
    process = train_apart("examples/configs/python-docs-di.yaml", "--data", str(tmp_path), *flags)
    assert process.returncode == 0, process.stderr[-3000:]
    assert "have fewer than 4 tokens (`min_tokens`) and are left out" in process.stderr
    quality = json.loads((tmp_path / "out" / "results.json").read_text())["quality"]
    assert quality.keys() == {"MDLM", "Di-LADD joint", "Di-LADD joint that waits", "Di-LADD sequential"}
    assert all(math.isfinite(score["nats"]) for scores in quality.values() for score in scores.values())
