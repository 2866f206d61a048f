"""transformers' suite under this repository's rules: its marks are known, and what it skips is named with a reason."""

from __future__ import annotations

import re

import pytest

SUITE_MARKS = (
    "accelerate_tests",
    "flash_attn_test",
    "flash_attn_3_test",
    "flash_attn_4_test",
    "is_training_test",
    "order",
    "slow",
    "torch_compile_test",
)

# What the suite says where it skips a test, and why that is right here. Anything else that is skipped fails.
RIGHTLY_SKIPPED = {
    r"test requires (an? )?(multiple )?accelerators?|test requires MPS": "there is no such device",
    r"test requires (Flash Attention|the kernels library)": "its kernels run on a GPU",
    r"test requires deepspeed": "it trains on GPUs",
    r"not (a )?composite|No subconfigs|does not support SDPA": "no model within the model (SDPA: of composites)",
    r"No conversion found": "weights are saved by the names that the model has for them",
    r"No (decoder-only|sequence-to-sequence) language modeling head": "it is a masked language model",
    r"grouped_mm|sparse experts|output_router_logits": "there are no experts",
    r"_keep_in_fp32_modules": "statistics and anchors alone stay in float32, which these models do not have",
    r"no `base_model_class`": "plain rotary positions: other kinds are refused by the configuration",
    r"does not have position embeddings": "positions are rotary, there is no table to resize",
    r"does not support sliding window": "attention is over everything",
    r"TP plan": "no plan for tensor parallelism is offered",
    r"does not support output_attentions": "weights are asked for with every other call; the suite looks for the name",
    r"test is slow": "training compiled has a test of its own, test_modeling_compilation.py",
}


def pytest_configure(config):
    for mark in SUITE_MARKS:
        config.addinivalue_line("markers", f"{mark}: of transformers' conformance suite")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    report = yield
    if report.skipped and "conformance" in item.path.parts and not hasattr(report, "wasxfail"):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        if not any(re.search(pattern, reason) for pattern in RIGHTLY_SKIPPED):
            report.outcome, report.longrepr = "failed", f"skipped without a reason in RIGHTLY_SKIPPED: {reason}"
    return report


@pytest.fixture(autouse=True)
def without_generate(request, monkeypatch):
    """Takes `generate` away where the suite generates with every text model that has it: ours says that it has none."""
    if "overfit" in request.node.name:
        monkeypatch.delattr("ladd_hf.models.modeling_utils.LaddPreTrainedModel.generate")
