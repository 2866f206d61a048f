"""Downloads that go wrong: broken off, spoilt, not allowed, or of nothing."""

from __future__ import annotations

import pytest

CODE = """
import torch
from huggingface_hub import HfApi, constants
constants.DOWNLOAD_CHUNK_SIZE = 4096  # or a small file would arrive in one piece
from ladd_hf import LaddForDiffusionLM, LaddPipeline
from conftest import _stirred_model

def error_of(load, *arguments, **options):
    try:
        load(*arguments, **options)
    except Exception as error:
        return type(error).__name__ + " " + " ".join(str(error).split())

source = _stirred_model("discrete").state_dict()
for name, load in (("model", LaddForDiffusionLM), ("pipeline", LaddPipeline)):
    loaded = load.from_pretrained(f"tester/{name}")
    weights = (loaded if name == "model" else loaded.model).state_dict()
    print(f"resumed {name}:", all(torch.equal(value, source[key]) for key, value in weights.items()))
    print(f"hidden {name}:", error_of(load.from_pretrained, f"tester/hidden-{name}", token=False))
    print(f"shown {name}:", error_of(load.from_pretrained, f"tester/hidden-{name}"))
    print(f"missing {name}:", error_of(load.from_pretrained, "tester/nothing"))
print("short:", error_of(LaddForDiffusionLM.from_pretrained, "tester/short"))
LaddForDiffusionLM.from_pretrained("tester/spoilt")
print("spoilt:", [one["path"] for one in HfApi().verify_repo_checksums("tester/spoilt").mismatches])
"""


@pytest.fixture(scope="module")
def printed(pushed, hub, run):
    """Output of the process with the failing downloads."""
    state = hub.state
    for repo, source in (("short", "model"), ("hidden-model", "model"), ("hidden-pipeline", "pipeline")):
        state.create(f"tester/{repo}")
        state.add(f"tester/{repo}", state.at(f"tester/{source}", "main")[1], set())
    state.private |= {"tester/hidden-model", "tester/hidden-pipeline"}
    data = state.at("tester/model", "main")[1]["model.safetensors"]
    state.garbled["tester/short/model.safetensors"] = data[:-100]
    state.garbled["tester/spoilt/model.safetensors"] = data[:-10] + bytes([data[-10] ^ 255]) + data[-9:]
    for place in ("tester/model/model.safetensors", "tester/pipeline/model/model.safetensors"):
        state.send_only[place] = 50_000
        state.ranges.pop(place, None)
    return run(CODE)


@pytest.mark.parametrize("name", ["model", "pipeline"])
def test_a_download_that_breaks_off_goes_on_where_it_was(printed, hub, name):
    assert printed[f"resumed {name}"] == "True"
    place = {"model": "tester/model/model.safetensors", "pipeline": "tester/pipeline/model/model.safetensors"}[name]
    assert 0 < int(hub.state.ranges[place].removeprefix("bytes=").split("-")[0]) <= 50_000


def test_a_file_that_is_too_short_is_not_taken(printed):
    assert "Consistency check failed" in printed["short"] and "model.safetensors" in printed["short"]


def test_a_file_with_other_bytes_is_found_by_its_checksum(printed):
    assert printed["spoilt"] == "['model.safetensors']"


@pytest.mark.parametrize("name", ["model", "pipeline"])
def test_a_private_repository_is_refused_without_a_token_and_says_so(printed, name):
    assert printed[f"shown {name}"] == "None"
    assert "private" in printed[f"hidden {name}"] and f"tester/hidden-{name}" in printed[f"hidden {name}"]


@pytest.mark.parametrize("name", ["model", "pipeline"])
def test_a_repository_that_does_not_exist_is_named(printed, name):
    assert "tester/nothing" in printed[f"missing {name}"]
