"""Two processes share lm-evaluation-harness's texts, with the scores of one. Run by torchrun, this file scores."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import datasets
import pytest
import torch
from lm_eval import simple_evaluate
from lm_eval.api.task import ConfigurableTask

from ladd_hf import LaddPipeline, LaddSequentialScheduler
from ladd_hf.evaluation.harness import LaddHarness
from ladd_hf.evaluation.scoring import TextScorer

ROWS = {  # three questions, which two processes cannot share evenly
    "question": ["abcd", "fghi", "aaab"],
    "choices": [["d", "ef"], ["i", "ab"], ["b", "cc"]],
    "answer": [0, 1, 0],
}


def task(kind: str, **config: object) -> ConfigurableTask:
    data = {"test": datasets.Dataset.from_dict(ROWS)}
    shared = {"task": f"tiny_{kind}", "custom_dataset": lambda **_: data, "test_split": "test", "output_type": kind}
    shared |= {"doc_to_text": "{{question}}", "doc_to_target": "answer", "target_delimiter": ""}
    return ConfigurableTask(config=shared | config)


def scored(folder: Path) -> tuple[dict | None, int]:
    """What lm-eval returns in this process, without what is of its clock, and the texts that were scored here."""
    torch.set_num_threads(1)
    counted, real = [], TextScorer._of_batch

    def count(self: TextScorer, texts: list) -> list[float]:
        counted.extend(texts)
        return real(self, texts)

    TextScorer._of_batch = count  # type: ignore[method-assign]
    try:
        rolling = {"doc_to_text": "", "doc_to_target": "{{question}}", "metric_list": [{"metric": "bits_per_byte"}]}
        tasks = [
            task("multiple_choice", doc_to_choice="{{choices}}", metric_list=[{"metric": "acc"}]),
            task("loglikelihood_rolling", **rolling),
            task("generate_until", doc_to_target="{{question}}", generation_kwargs={"max_gen_toks": 2, "until": ["z"]}),
        ]
        model = LaddHarness(str(folder / "model"), num_samples=4, num_steps=2, device="cpu")
        found = simple_evaluate(model, tasks=tasks, bootstrap_iters=0)
    finally:
        TextScorer._of_batch = real  # type: ignore[method-assign]
    if found is None:
        return None, len(counted)
    samples = {
        name: sorted((row["doc_id"], json.dumps(row["filtered_resps"])) for row in rows)
        for name, rows in found["samples"].items()
    }
    return {"results": found["results"], "samples": samples}, len(counted)


def test_two_processes_have_the_scores_of_one_for_half_of_the_work(stirred_model, tmp_path):
    from helpers.sampling import tiny_tokenizer  # not there for the script
    from helpers.two_processes import run_twice

    LaddPipeline(stirred_model("vector"), LaddSequentialScheduler(), tiny_tokenizer()).save_pretrained(
        tmp_path / "model"
    )
    one, all_texts = scored(tmp_path)
    run_twice(__file__, tmp_path)
    two, texts = json.loads((tmp_path / "of 0.json").read_text())
    nothing, other_texts = json.loads((tmp_path / "of 1.json").read_text())
    assert nothing is None  # lm-eval's first process has the results
    assert max(texts, other_texts) < all_texts
    for name, scores in one["results"].items():
        numbers = {key: value for key, value in scores.items() if isinstance(value, float)}
        assert numbers and {key: two["results"][name][key] for key in numbers} == pytest.approx(numbers, rel=1e-5)
    assert two["samples"].keys() == one["samples"].keys()
    for name, rows in one["samples"].items():
        assert [doc for doc, _ in rows] == [doc for doc, _ in two["samples"][name]] == [0, 1, 2]


if __name__ == "__main__":
    (Path(sys.argv[1]) / f"of {os.environ['RANK']}.json").write_text(json.dumps(scored(Path(sys.argv[1]))))
