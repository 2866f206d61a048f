"""Small builders that the tests share: one configuration and one model per kind of latents."""

from __future__ import annotations

import gc
import os
from pathlib import Path

if "PYTEST_XDIST_WORKER_COUNT" in os.environ:  # before torch is imported: the workers share the cores
    threads = max(1, (os.cpu_count() or 1) // int(os.environ["PYTEST_XDIST_WORKER_COUNT"]))
    os.environ.setdefault("OMP_NUM_THREADS", str(threads))

import pytest
import torch

from ladd_hf import LaddConfig, LaddForDiffusionLM

TESTS = Path(__file__).resolve().parent
TIERS = ("unit", "integration", "process")

_SIZES = {
    "vocab_size": 11,
    "mask_token_id": 10,
    "pad_token_id": 0,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "cond_hidden_size": 16,
    "max_position_embeddings": 12,
}
_LATENTS = {"latent_length": 4, "latent_dim": 3}
_DISCRETE = {"latent_type": "discrete", **_LATENTS}
_KINDS = {
    "none": {},
    "continuous": {"latent_type": "continuous", **_LATENTS},
    "anchors": {"latent_type": "continuous", "latent_prediction_type": {"name": "anchors", "count": 6}, **_LATENTS},
    "separate": {"latent_type": "continuous", "latent_denoiser": "separate", **_LATENTS},
    "discrete": {"quantizer": {"name": "finite_scalar", "levels": [3, 3]}, **_DISCRETE},
    "separate_codes": {
        "quantizer": {"name": "finite_scalar", "levels": [3, 3]},
        "latent_denoiser": "separate",
        **_DISCRETE,
    },
    "alone": {
        "quantizer": {"name": "finite_scalar", "levels": [3, 3]},
        "latent_denoiser": {"name": "shared", "skips_masked_tokens": True},
        **_DISCRETE,
    },
    "vector": {"quantizer": "vector", "codebook_size": 8, **_DISCRETE},
    "gumbel": {"quantizer": "gumbel", "codebook_size": 8, **_DISCRETE},
}


def _with_options(settings):
    """Settings in which `encoder_x` and `quantizer_x` stand for the option `x` of these choices; a model without
    codes has no quantizer."""
    for choice, name in (("encoder", "trained"), ("quantizer", "vector")):
        options = {one: settings.pop(one) for one in list(settings) if one.startswith(f"{choice}_")}
        options = {one.removeprefix(f"{choice}_"): value for one, value in options.items()}
        if options and (choice == "encoder" or settings.get("latent_type") == "discrete"):
            name = "pretrained" if "name_or_path" in options else settings.get(choice, name)
            settings[choice] = {**({"name": name} if isinstance(name, str) else name), **options}
    return settings


def _config(kind, **overrides):
    return LaddConfig(**_with_options({**_SIZES, **_KINDS[kind], **overrides}))


def _model(kind, **overrides):
    torch.manual_seed(0)
    model = LaddForDiffusionLM(_config(kind, **overrides)).eval()
    if model.latent_anchors is not None and not model.latent_anchors.points.is_meta:
        random = torch.Generator().manual_seed(0)
        model.latent_anchors.find(torch.randn(40, model.config.latent_dim, generator=random))
    return model


def _stirred_model(kind, **overrides):
    if kind == "vector":
        overrides = {"quantizer_kmeans_init": False, **overrides}
    model = _model(kind, **overrides)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.15 * torch.randn_like(parameter))
    return model


def pytest_ignore_collect(collection_path, config):
    """Leaves the other tiers' modules alone where `-m` asks for one tier: importing them takes time."""
    if collection_path.parent == TESTS and {collection_path.name, config.option.markexpr} <= set(TIERS):
        return collection_path.name != config.option.markexpr or None


@pytest.hookimpl(wrapper=True)
def pytest_collection():
    """Collects the tests without looking for garbage: there is next to none among a million objects that stay."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.enable()


def pytest_collection_modifyitems(items):
    """Marks each test by the folder it is in: `unit`, `integration` or `process`; the last come first, with the longest
    files, so that no core has one left to do when the others are done."""
    for item in items:
        item.add_marker(item.path.relative_to(TESTS).parts[0])
    items.sort(key=lambda item: TIERS.index(item.path.relative_to(TESTS).parts[0]), reverse=True)


@pytest.fixture(scope="session")
def tiny_config():
    """`tiny_config(kind, **overrides)`: kinds none, continuous, anchors, separate, separate_codes, discrete, alone,
    vector, gumbel.

    Of the overrides `encoder_x` and `quantizer_x` are the option `x` of these choices.
    """
    return _config


@pytest.fixture(scope="session")
def tiny_model():
    """`tiny_model(kind, **overrides)`: fresh weights of seed 0, for evaluation; output heads start at zero."""
    return _model


@pytest.fixture(scope="session")
def stirred_model():
    """`stirred_model(kind, **overrides)`: noise on every weight, so that all inputs reach all outputs."""
    return _stirred_model


@pytest.fixture(scope="module", autouse=True)
def no_old_objects_among_the_garbage():
    """Takes what is there before a file's tests, imports and tests above all, from the garbage collector: Accelerate
    and the trainer collect garbage several times a run, each time for half a second over a million such objects."""
    gc.unfreeze()  # what earlier files have left is looked for once, with its finalisers
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="module", autouse=True)
def same_threads():
    """Takes back how many threads an example has set: more of them than cores slow later files down several times."""
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def torch_seed():
    """The global generator at seed 0 where a test begins."""
    torch.manual_seed(0)


@pytest.fixture
def make_trainer(tiny_model, tmp_path):
    """`make_trainer(kind or model, folder="run", data=..., eval_data=..., callbacks=..., **arguments)`."""
    # here, for they take seconds to load, and most tests need none of them
    from helpers.training import texts

    from ladd_hf import LaddTrainer, LaddTrainingArguments

    def make(model, folder="run", data=None, eval_data=None, callbacks=None, trainer_options=None, **options):
        arguments = {
            "use_cpu": True,
            "disable_tqdm": True,
            "per_device_train_batch_size": 8,
            "max_steps": 6,
            "logging_steps": 1,
            "save_strategy": "no",
            "learning_rate": 3e-3,
            "lr_scheduler_type": "constant",
            "ema_decay": 0.9,
            **options,
        }
        return LaddTrainer(
            tiny_model(model) if isinstance(model, str) else model,
            LaddTrainingArguments(str(tmp_path / folder), **arguments),
            train_dataset=texts() if data is None else data,
            eval_dataset=eval_data,
            callbacks=callbacks,
            **(trainer_options or {}),
        )

    return make


@pytest.fixture(scope="session")
def encoder_folders(tmp_path_factory):
    """A folder for each kind of encoder with a vocabulary of 11, and its name."""
    from helpers.encoders import ENCODERS, save_encoder  # which takes seconds too

    root = tmp_path_factory.mktemp("encoders")
    return {kind: save_encoder(root / kind, kind) for kind in ENCODERS}


@pytest.fixture
def encoder_model(tiny_model, encoder_folders):
    """`encoder_model(kind="continuous", encoder="bert", **overrides)`."""
    return lambda kind="continuous", encoder="bert", **overrides: tiny_model(
        kind, **{"encoder_name_or_path": encoder_folders.get(encoder, encoder), **overrides}
    )


@pytest.fixture
def site(tmp_path, monkeypatch):
    """An empty folder in which installed packages are found; see `helpers.distributions.install`."""
    folder = tmp_path / "site-packages"
    folder.mkdir()
    monkeypatch.syspath_prepend(folder)
    return folder
