"""Downloads that go wrong: broken off, spoilt, or not allowed."""

from __future__ import annotations

import pytest

LOAD = """
from huggingface_hub import constants
constants.DOWNLOAD_CHUNK_SIZE = 4096  # or a small file would arrive in one piece
from ladd_hf import LaddForDiffusionLM, LaddPipeline
{load}
print("loaded")
"""
PIPELINE = 'LaddPipeline.from_pretrained("tester/pipeline")'
MODEL = 'LaddForDiffusionLM.from_pretrained("tester/model")'
VERIFY = """
from huggingface_hub import HfApi
print("differ", [one["path"] for one in HfApi().verify_repo_checksums("tester/model").mismatches])
"""


@pytest.mark.parametrize("load", [PIPELINE, MODEL])
def test_a_download_that_breaks_off_goes_on_where_it_was(pushed, hub, succeed, load):
    path = "model/model.safetensors" if load == PIPELINE else "model.safetensors"
    hub.state.ranges.clear()
    hub.state.send_only[path] = 50_000
    assert "loaded" in succeed(LOAD.format(load=load))
    starts = [int(one.removeprefix("bytes=").split("-")[0]) for one in hub.state.ranges]
    assert starts and 0 < starts[0] <= 50_000


def test_a_file_that_is_too_short_is_not_taken(pushed, hub, run):
    _, files = hub.state.at("tester/model", "main")
    hub.state.garbled["model.safetensors"] = files["model.safetensors"][:-100]
    try:
        process = run(LOAD.format(load=MODEL))
    finally:
        hub.state.garbled.clear()
    assert process.returncode != 0 and "model.safetensors" in process.stderr
    assert "Consistency check failed" in process.stderr and "loaded" not in process.stdout


def test_a_file_with_other_bytes_is_found_by_its_checksum(pushed, hub, succeed, tmp_path):
    _, files = hub.state.at("tester/model", "main")
    data = bytearray(files["model.safetensors"])
    data[-10] ^= 255
    hub.state.garbled["model.safetensors"] = bytes(data)
    try:
        succeed(LOAD.format(load=MODEL), home=tmp_path)
    finally:
        hub.state.garbled.clear()
    assert "differ ['model.safetensors']" in succeed(VERIFY, home=tmp_path)


@pytest.mark.parametrize("load", [PIPELINE, MODEL])
def test_a_private_repository_is_refused_without_a_token_and_says_so(pushed, hub, run, load):
    hub.state.private |= {"tester/pipeline", "tester/model"}
    try:
        refused, allowed = run(LOAD.format(load=load), HF_TOKEN=""), run(LOAD.format(load=load))
    finally:
        hub.state.private.clear()
    assert refused.returncode != 0 and "loaded" not in refused.stdout
    assert "private" in refused.stderr and ("token" in refused.stderr or "authenticated" in refused.stderr)
    assert allowed.returncode == 0, allowed.stderr[-2000:]
