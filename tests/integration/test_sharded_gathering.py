"""Statistics and anchors are gathered from a model whose weights are sharded, as from a whole one."""

from __future__ import annotations

import pytest
import torch
from helpers.training import texts
from torch import distributed
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard

from ladd_hf import LaddForDiffusionLM
from ladd_hf.models.fsdp import is_sharded
from ladd_hf.models.transformer import LaddBlock


@pytest.fixture
def shard():
    """Shards a model as accelerate does, among this process alone."""
    distributed.init_process_group("gloo", store=distributed.HashStore(), rank=0, world_size=1)
    mesh = init_device_mesh("cpu", (1,))

    def shard(model):
        for module in model.modules():
            if isinstance(module, LaddBlock):
                fully_shard(module, mesh=mesh)
        return fully_shard(model, mesh=mesh)

    yield shard
    distributed.destroy_process_group()


@pytest.mark.parametrize("variance", ["none", "fixed"])
def test_they_are_those_of_the_whole_model_and_the_weights_are_shards_again(variance, shard, tiny_config):
    found = []
    for sharded in (False, True):
        torch.manual_seed(0)
        model = LaddForDiffusionLM(tiny_config("anchors", encoder_standardization=True, encoder_variance=variance))
        if sharded:
            model = shard(model)
        for _ in range(2):
            model.gather_latent_statistics(texts())
            model.gather_latent_anchors(texts())
        assert is_sharded(model) == sharded
        found.append([*model.encoder.statistics.buffers(), *model.latent_anchors.buffers()])
    assert found[0][0].any() and found[0][2].any()
    for whole, of_shards in zip(*found, strict=True):
        torch.testing.assert_close(of_shards, whole)
