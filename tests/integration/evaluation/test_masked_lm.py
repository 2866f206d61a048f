"""Masked language models of transformers as denoisers: samples, bounds, cost and tables as of any other model."""

from __future__ import annotations

from types import SimpleNamespace

import datasets
import pytest
import torch
from helpers.corpora import characters
from transformers import (
    BertConfig,
    BertForMaskedLM,
    ModernBertConfig,
    ModernBertForMaskedLM,
    RobertaConfig,
    RobertaForMaskedLM,
)

from ladd_hf import EvaluationSettings, LaddPipeline, MaskedLMDenoiser
from ladd_hf.diffusion.rng import RowGenerator
from ladd_hf.evaluation import EvaluationResults, compared, evaluate_pipelines, markdown_report
from ladd_hf.tasks import TextTask

TOKENIZER = characters("pad", "unk", "cls", "sep", "mask")
SIZES = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
KINDS = {
    "bert": (BertConfig, BertForMaskedLM, 12),
    "roberta": (RobertaConfig, RobertaForMaskedLM, 12 + TOKENIZER.pad_token_id + 1),  # whose first position is later
    "modernbert": (ModernBertConfig, ModernBertForMaskedLM, 12),
}


def masked_lm(kind="bert", **overrides):
    config, model, positions = KINDS[kind]
    torch.manual_seed(0)
    roles = {f"{role}_token_id": getattr(TOKENIZER, f"{role}_token_id") for role in ("pad", "cls", "sep")}
    roles |= {"bos_token_id": None, "eos_token_id": None}
    built = model(config(vocab_size=40, max_position_embeddings=positions, **roles, **SIZES, **overrides))
    with torch.no_grad():
        for parameter in built.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    return built.eval()


def pipeline_of(kind="bert"):
    return LaddPipeline(MaskedLMDenoiser(masked_lm(kind), TOKENIZER.mask_token_id), tokenizer=TOKENIZER)


@pytest.mark.parametrize("kind", KINDS)
def test_samples_fill_the_model_and_hold_only_what_texts_may(kind):
    pipeline = pipeline_of(kind)
    pipeline.set_progress_bar_config(disable=True)
    drawn = pipeline(num_steps=5, batch_size=40, output_type="seq", temperature=3.0)
    assert drawn.sequences.shape == (40, 12) and drawn.nfe == 5
    assert not torch.isin(drawn.sequences, torch.tensor([TOKENIZER.mask_token_id, TOKENIZER.pad_token_id])).any()
    assert int(drawn.sequences.max()) < len(TOKENIZER)  # of 40 ids


def test_its_logits_are_the_models_and_the_one_step_bound_is_their_cross_entropy():
    denoiser = pipeline_of().model
    ids = torch.tensor(TOKENIZER(["the cat sat"], add_special_tokens=False).input_ids)
    logits = denoiser.model(torch.full_like(ids, TOKENIZER.mask_token_id)).logits
    kept = [one for one in range(len(TOKENIZER)) if one not in (TOKENIZER.mask_token_id, TOKENIZER.pad_token_id)]
    law = logits[..., kept].double().log_softmax(-1)
    expected = -sum(float(law[0, place, kept.index(token)]) for place, token in enumerate(ids[0].tolist()))
    for options in ({"num_samples": 1}, {"num_proposals": 3}):
        bound = denoiser.nelbo(ids, run=1, **options)
        assert float(bound.total_nats) == pytest.approx(expected, rel=1e-5)


def test_context_is_visible_and_not_scored():
    denoiser = pipeline_of().model
    ids = torch.tensor(TOKENIZER(["the cat sat"], add_special_tokens=False).input_ids)
    labels = ids.clone()
    labels[:, :-1] = -100
    masked = ids.clone()
    masked[:, -1] = TOKENIZER.mask_token_id
    law = denoiser(masked).logits[0, -1].double().log_softmax(-1)
    bound = denoiser.nelbo(ids, labels=labels, run=1, num_samples=1)
    assert float(bound.total_nats) == pytest.approx(-float(law[ids[0, -1]]), rel=1e-5)
    assert bound.num_tokens.tolist() == [1]


def test_padding_changes_no_bound():
    denoiser = pipeline_of().model
    ids = torch.tensor(TOKENIZER(["the cat"], add_special_tokens=False).input_ids)
    padded = torch.nn.functional.pad(ids, (0, 3), value=TOKENIZER.pad_token_id)
    mask = (torch.arange(10) < 7).long()[None]
    for options in ({"num_samples": 4}, {"num_proposals": 3, "run": 3}):
        alone = denoiser.nelbo(ids, generator=RowGenerator.from_content(0, ids), **options)
        beside = denoiser.nelbo(padded, mask, generator=RowGenerator.from_content(0, padded, mask), **options)
        assert float(beside.total_nats) == pytest.approx(float(alone.total_nats), rel=1e-5)


def test_an_evaluation_of_it_has_everything_but_latents(tmp_path, monkeypatch):
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")
    texts = {"train": ["the cat sat on the mat and the dog ran"] * 9, "validation": ["a dog sat on the cat"] * 9}
    splits = {name: datasets.Dataset.from_dict({"text": rows}) for name, rows in texts.items()}
    task = TextTask("words", splits, TOKENIZER, 12, judge_order=3)
    settings = EvaluationSettings((2, 4), num_samples=8, num_texts=4, num_proposals=2, timing_rounds=1)
    pipelines = {kind: pipeline_of(kind) for kind in ("bert", "roberta")}
    results = evaluate_pipelines(pipelines, task, settings, tmp_path / "results")
    assert [EvaluationResults.load(tmp_path / "results" / f"{kind}.json").rows for kind in pipelines] == [
        one.rows for one in results
    ]
    for one in results:
        assert len(one.rows) == 2 and one.model["parameters"] > 0 and one.model["fingerprint"]
        for row in one.rows:
            assert {"nats", "bound", "marginal_bound", "seconds"} < set(row)
            assert row["token_flops"] + row["head_flops"] == row["flops"] > 0 and row["nfe"] == row["num_steps"]
    report = markdown_report(compared(results))
    for row in results[1].rows:
        assert f"{row['nats']:.4f}" in report and f"{row['marginal_bound']:.4f}" in report
    assert "At equal floating-point operations" in report and "At equal seconds" in report


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda denoiser, ids: denoiser.nelbo(ids, num_proposals=2), "give `run`"),
        (lambda denoiser, ids: denoiser.nelbo(ids.repeat(1, 9)), "more than the model's `max_position_embeddings`"),
        (lambda denoiser, ids: denoiser.nelbo(ids * 0 + TOKENIZER.mask_token_id), "hold the mask token"),
        (lambda denoiser, ids: denoiser.encode(ids), "no latents"),
        (lambda denoiser, ids: MaskedLMDenoiser(denoiser.model, 99), "`mask_token_id` is 99; give an id of the"),
    ],
)
def test_what_it_cannot_do_is_said_in_a_sentence(call, message):
    with pytest.raises(ValueError, match=message):
        call(pipeline_of().model, torch.tensor([[1, 2, 3]]))


def test_a_model_that_names_no_number_of_positions_needs_a_length():
    model = SimpleNamespace(config=SimpleNamespace(vocab_size=40, pad_token_id=0), named_modules=list)
    with pytest.raises(ValueError, match="names no `max_position_embeddings`: give `length`"):
        MaskedLMDenoiser(model, 3)
