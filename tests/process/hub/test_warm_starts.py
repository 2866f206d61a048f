"""Warm starts take their source from a Hub, with the options that `from_pretrained` has for that."""

from __future__ import annotations

import json

import pytest
import torch
from helpers.dit_networks import MDLM, MDLM_CONFIG, stirred
from safetensors.torch import save

START = """
import sys, torch
from ladd_hf import from_mdlm

first, cache, text = sys.argv[1], sys.argv[2], torch.arange(6)[None]
latents = dict(latent_type="discrete", latent_length=4, latent_dim=3, codebook_size=8)
def start(name, **options):
    return from_mdlm(name, **latents, **options)(text).logits[..., :10].double().sum().item()

print("newest:", start("tester/mdlm"))
print("first:", start("tester/mdlm", revision=first, cache_dir=cache))
print("again:", start("tester/mdlm", revision=first, cache_dir=cache, local_files_only=True))
print("in a folder:", start("tester/mdlm", subfolder="inner"))
print("with a token:", start("tester/secret", token="hf_fake"))
for options in (dict(revision="nowhere"), dict(token=False, cache_dir=cache + "-other")):
    try:
        start("tester/secret" if "token" in options else "tester/mdlm", **options)
    except OSError as error:
        print(list(options)[0], "refused:", type(error).__name__)
"""


def files(network, folder=""):
    """Of the published layout."""
    weights = {f"backbone.{name}": weight.contiguous() for name, weight in network.state_dict().items()}
    return {f"{folder}config.json": json.dumps(MDLM_CONFIG).encode(), f"{folder}model.safetensors": save(weights)}


def expected(network):
    with torch.no_grad():
        return network(torch.arange(6)[None])[..., :10].double().sum().item()


def test_a_source_on_the_hub_is_found_by_revision_token_cache_and_folder(hub, run, tmp_path):
    networks = old, new, inner = [stirred(MDLM(), seed) for seed in range(3)]
    for repo in ("tester/mdlm", "tester/secret"):
        hub.state.create(repo)
    first = hub.state.add("tester/mdlm", files(old), set())
    hub.state.add("tester/mdlm", files(new) | files(inner, "inner/"), set())
    hub.state.add("tester/secret", files(new), set())
    hub.state.private.add("tester/secret")
    try:
        printed = run(START, first, tmp_path)
    finally:
        hub.state.private.discard("tester/secret")
    of_old, of_new, of_inner = map(expected, networks)
    found = {"newest": of_new, "first": of_old, "again": of_old, "in a folder": of_inner, "with a token": of_new}
    for name, value in found.items():
        assert float(printed[name]) == pytest.approx(value, abs=1e-4), name
    assert "revision refused" in printed and "token refused" in printed
