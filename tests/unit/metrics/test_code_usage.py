"""Usage of a codebook: all of it where codes are even, one code where they are one, for any batches."""

from __future__ import annotations

import inspect
import math

import evaluate
import numpy as np
import pytest
import torch

from ladd_hf.metrics import CodeUsage, Estimate, code_usage, usage_of_codes
from ladd_hf.metrics.bootstrap import jackknife
from ladd_hf.metrics.code_usage import CodebookUsage, usage_scores

CODES = np.random.default_rng(0).integers(0, 8, (500, 3))


def test_even_codes_use_all_of_the_codebook_and_one_code_a_single_one():
    even = usage_of_codes(np.arange(64).reshape(16, 4) % 16, 16)
    assert even.perplexity.value == pytest.approx(16) and (even.used, even.dead) == (16, 0)
    assert even.perplexity_of_positions == pytest.approx([4] * 4) and even.used_of_positions == (4,) * 4
    lone = usage_of_codes(np.full((9, 2), 5), 16)
    assert lone.perplexity.value == 1 and lone.perplexity.stderr == 0 and (lone.used, lone.dead) == (1, 15)


def test_it_is_the_exponential_of_the_entropy():
    p = np.array([0.5, 0.25, 0.25])
    usage = usage_of_codes([[0, 0], [1, 2]], 4)
    assert usage.perplexity.value == pytest.approx(math.exp(-(p * np.log(p)).sum()))
    assert usage.used_of_positions == (2, 2) and usage.dead == 1


def test_its_error_is_the_spread_of_other_texts():
    law = np.random.default_rng(1).dirichlet(np.ones(8))
    values = [
        usage_of_codes(np.random.default_rng(seed).choice(8, (300, 2), p=law), 8, resamples=2).perplexity.value
        for seed in range(10, 110)
    ]
    stderr = usage_of_codes(np.random.default_rng(2).choice(8, (300, 2), p=law), 8).perplexity.stderr
    assert stderr == pytest.approx(np.std(values), rel=0.3)


def test_the_error_of_used_codes_is_the_jackknife():
    rare = np.random.default_rng(3).choice(40, (12, 3), p=np.random.default_rng(4).dirichlet(np.ones(40) / 3))
    left_out = [usage_of_codes(np.delete(rare, row, axis=0), 40).used for row in range(12)]
    usage = usage_of_codes(rare, 40)
    assert usage.used_stderr == pytest.approx(jackknife(usage.used, left_out).stderr) and usage.used_stderr > 0
    assert usage_scores(usage)["codes_dead"] == Estimate(usage.dead, usage.used_stderr)
    assert usage_of_codes(rare[:1], 40).used_stderr is None


@pytest.mark.parametrize("kind", ["discrete", "vector"])
def test_a_models_codes_are_counted_whatever_the_batches(kind, stirred_model):
    model = stirred_model(kind)
    tokens = torch.randint(1, 10, (30, 12), generator=torch.Generator().manual_seed(0))
    mask = torch.ones_like(tokens)
    mask[:10, 9:] = 0
    usage = code_usage(model, [{"input_ids": tokens, "attention_mask": mask}])
    parts = zip(tokens.split(7), mask.split(7), strict=True)
    assert code_usage(model, [{"input_ids": ids, "attention_mask": one} for ids, one in parts]) == usage
    codes = model.encode_latents(tokens, mask)
    assert usage == usage_of_codes(codes.numpy(), model.config.codebook_size)
    assert isinstance(usage, CodebookUsage) and usage.codes == model.latent_channel.mask_id


def test_the_measurement_says_the_same(tmp_path):
    usage = usage_of_codes(CODES, 10)
    result = CodeUsage(10, cache_dir=str(tmp_path)).compute(data=CODES)
    assert result["perplexity"] == usage.perplexity.value and result["perplexity_stderr"] == usage.perplexity.stderr
    assert (result["used"], result["dead"], result["codes"]) == (8, 2, 10)
    assert result["used_stderr"] == result["dead_stderr"] == usage.used_stderr
    assert result["perplexity_of_positions"] == list(usage.perplexity_of_positions)
    path = inspect.getfile(CodeUsage)
    loaded = evaluate.load(path, module_type="measurement", codebook_size=10, cache_dir=str(tmp_path))
    assert loaded.compute(data=CODES) == result


@pytest.mark.parametrize(
    ("codes", "message"),
    [([1, 2], r"shape \(2,\)"), ([[0.5]], "dtype float64"), ([[8]], "codes from 8 to 8, but .* has 8"), ([[-1]], "-1")],
)
def test_what_are_no_codes_is_refused(codes, message):
    with pytest.raises(ValueError, match=message):
        usage_of_codes(codes, 8)


def test_models_without_codes_and_no_texts_are_refused(tiny_model):
    with pytest.raises(ValueError, match="has no codes"):
        code_usage(tiny_model("continuous"), [])
    with pytest.raises(ValueError, match="no batches"):
        code_usage(tiny_model("discrete"), [])
    with pytest.raises(ValueError, match="A batch is a list; give"):
        code_usage(tiny_model("discrete"), [[1, 2]])
