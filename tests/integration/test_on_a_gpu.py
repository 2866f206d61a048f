"""Behaviour on a GPU: its own kernels, bfloat16, and no synchronisation. Left out without one."""

from __future__ import annotations

import linecache
from itertools import product

import pytest
import torch
from helpers.model_calls import KINDS, loss_of, some_latents, some_tokens
from helpers.sampling import SCHEDULERS, seeded
from helpers.training import texts
from torch.nn.attention import SDPBackend, sdpa_kernel

from ladd_hf import LaddPipeline, LaddTrainer, LaddTrainingArguments, TrainingNoise

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="it needs a GPU")


def quiet(model, scheduler="joint"):
    pipe = LaddPipeline(model, SCHEDULERS[scheduler]())
    pipe.set_progress_bar_config(disable=True)
    return pipe


def trained(tiny_model, folder, kind, steps=12, **options):
    """The last loss of a short run, the averaged weights' bound, and the trainer."""
    settings = {"per_device_train_batch_size": 8, "logging_steps": steps, "learning_rate": 3e-3, "ema_decay": 0.9}
    arguments = LaddTrainingArguments(
        str(folder), max_steps=steps, save_strategy="no", disable_tqdm=True, **{**settings, **options}
    )
    trainer = LaddTrainer(tiny_model(kind), arguments, train_dataset=texts(), eval_dataset=texts(16))
    trainer.train()
    return trainer.state.log_history[0]["loss"], trainer.evaluate()["eval_loss"], trainer


# A model without latents has nothing to write first, and a separate latent denoiser sees no tokens.
NOT_ITS_OWN = {("none", "sequential"), ("separate", "joint")}


@pytest.mark.parametrize(
    ("kind", "scheduler"), [pair for pair in product(KINDS, SCHEDULERS) if pair not in NOT_ITS_OWN]
)
def test_it_writes_what_a_cpu_writes(kind, scheduler, stirred_model):
    model = stirred_model(kind).double()
    run = {"num_steps": 8, "batch_size": 6}
    expected = quiet(model, scheduler)(**run, generator=seeded()).sequences
    on_gpu = quiet(model.to("cuda"), scheduler)(**run, generator=seeded()).sequences
    assert on_gpu.device.type == "cuda" and torch.equal(on_gpu.cpu(), expected)


@pytest.mark.parametrize("kind", KINDS)
def test_loss_and_gradients_are_those_of_a_cpu(kind, stirred_model, torch_seed):
    tokens, found = some_tokens(6), []
    for device in ("cpu", "cuda"):
        model = stirred_model(kind).double().to(device)  # in float32 a time's angle is off by 1e-4
        noise = TrainingNoise(0, torch.arange(6, device=device))
        loss = loss_of(model, tokens.to(device), noise=noise).loss
        loss.backward()
        found.append([loss, *(p.grad for p in model.parameters() if p.grad is not None)])
    assert len(found[0]) == len(found[1])
    for here, there in zip(*found, strict=True):
        torch.testing.assert_close(there.cpu(), here, atol=1e-9, rtol=1e-7)


@pytest.mark.parametrize("kind", KINDS)
def test_half_precision_takes_the_flash_kernel_and_stays_near(kind, stirred_model, torch_seed):
    model = stirred_model(kind, hidden_size=64).cuda()
    inputs = some_tokens().cuda(), some_latents(model)
    inputs = inputs[0], None if inputs[1] is None else inputs[1].cuda()
    times = torch.tensor([0.2, 0.9], device="cuda")
    exact = model(*inputs, times, times).logits
    with sdpa_kernel(SDPBackend.FLASH_ATTENTION):  # an error where it cannot be used
        rounded = model.bfloat16()(*inputs, times, times).logits
    kept = exact.isfinite()
    assert rounded.dtype == torch.bfloat16
    assert (rounded.float() - exact)[kept].norm() < 0.03 * exact[kept].norm()


@pytest.mark.parametrize("kind", ["none", "continuous", "discrete", "vector"])
def test_training_in_bfloat16_follows_training_in_full(kind, tiny_model, tmp_path):
    full, bound, _ = trained(tiny_model, tmp_path / "full", kind)
    half, half_bound, trainer = trained(tiny_model, tmp_path / "half", kind, bf16=True)
    assert half != full, "the numbers are rounded"
    assert abs(half - full) < 0.02 * abs(full) and abs(half_bound - bound) < 0.05 * abs(bound)
    assert {p.dtype for p in trainer.model.parameters()} == {torch.float32}


@pytest.mark.parametrize("kind", ["none", "discrete"])
def test_a_training_step_waits_for_the_gpu_only_where_tokens_are_masked(kind, stirred_model):
    model = stirred_model(kind).cuda().train()
    tokens = some_tokens(8).cuda()
    noise = TrainingNoise(0, torch.arange(8, device="cuda"))
    with pytest.warns(UserWarning) as waits:
        torch.cuda.set_sync_debug_mode("warn")
        try:
            loss_of(model, tokens, noise=noise).loss.backward()
        finally:
            torch.cuda.set_sync_debug_mode("default")
    places = {(one.filename, one.lineno) for one in waits if "called a synchronizing" in str(one.message)}
    ours = {place for place in places if "ladd_hf" in place[0]}
    lines = {linecache.getline(*place).strip() for place in ours}
    assert len(lines) == 3 and all("masked]" in line or "logits_mask]" in line for line in lines), lines
    assert len(places - ours) <= 1, "autograd looks the masks up once more"


def test_a_compiled_model_writes_the_same(stirred_model):
    model = stirred_model("discrete").cuda()
    expected = quiet(model, "sequential")(num_steps=6, batch_size=4, generator=seeded()).sequences
    pipe = quiet(torch.compile(model, fullgraph=True), "sequential")
    for _ in range(2):
        same = pipe(num_steps=6, batch_size=4, generator=seeded()).sequences == expected
        assert same.float().mean() > 0.9, "a sum in another order may tip one draw"
