"""An optimiser step is the same however its batch is cut: each term is divided by what the whole step scores."""

from __future__ import annotations

import pytest
import torch
from datasets import Dataset
from helpers.training import logged, texts

from ladd_hf import TrainingObjective
from ladd_hf.diffusion.step_counts import StepCounts, batch_counts, maskable_tokens, total
from ladd_hf.diffusion.time_sampling import TrainingNoise

CUTS = [(8, 1), (4, 2), (1, 8)]  # texts of a batch, batches of a step


def texts_of_all_lengths(prompts=False):
    """Eight texts of 4 to 12 tokens; with `prompts`, all but one token of every second one is context."""
    generator = torch.Generator().manual_seed(0)
    rows = []
    for number, length in enumerate((4, 12, 5, 11, 6, 10, 7, 9)):
        tokens = torch.randint(1, 10, (length,), generator=generator)
        row = {"input_ids": tokens}
        if prompts:
            row["labels"] = tokens.clone()
            row["labels"][: length - 1 if number % 2 else 0] = -100
        rows.append(row)
    return rows


def update(model, make_trainer, batch, accumulated, data, steps=2, **options):
    """Trained weights by plain gradient descent, and the log."""
    options = {
        "optim": "sgd",
        "learning_rate": 0.1,
        "max_grad_norm": 0.0,
        "train_sampling_strategy": "sequential",
    } | options
    trainer = make_trainer(
        model,
        f"{batch} x {accumulated}",
        data=data,
        max_steps=steps,
        per_device_train_batch_size=batch,
        gradient_accumulation_steps=accumulated,
        **options,
    )
    trainer.train()
    return {name: weight.clone() for name, weight in model.state_dict().items()}, trainer


@pytest.fixture
def precise_model(stirred_model):
    """A model in float64, and no codes that are replaced at random."""
    lasting = {"quantizer_dead_code_threshold": 0}
    return lambda kind: stirred_model(kind, **(lasting if kind == "vector" else {})).double()


def assert_same_update(model_of, make_trainer, data, **options):
    """The same weights and log, to 1e-6, for every way to cut the batch."""
    (whole, log), *others = (update(model_of(), make_trainer, *cut, data, **options) for cut in CUTS)
    terms = [name for name in log.state.log_history[0] if name.endswith("loss")]
    for weights, other in others:
        for name, weight in whole.items():
            torch.testing.assert_close(weights[name], weight, atol=1e-6, rtol=1e-6, msg=name)
        for term in terms:
            assert logged(other, term) == pytest.approx(logged(log, term), rel=1e-6, abs=1e-6), term


@pytest.mark.parametrize("prompts", [False, True], ids=["whole texts", "prompts"])
@pytest.mark.parametrize("kind", ["none", "continuous", "separate", "discrete", "vector", "gumbel"])
def test_an_update_does_not_depend_on_how_the_batch_is_cut(kind, prompts, make_trainer, precise_model):
    assert_same_update(lambda: precise_model(kind), make_trainer, texts_of_all_lengths(prompts))


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("continuous", {"latent_dropout": 0.5, "latent_kl_weight": 0.1, "encoder_corruption": 0.5}),
        (
            "continuous",
            {"latent_dropout": 0.5, "latent_weighting": "elbo", "token_weighting": "elbo", "learning_rate": 1e-3},
        ),
        ("discrete", {"latent_dropout": 0.5, "conditional_independence_weight": 0.3, "quantizer_dropout": 0.5}),
        ("vector", {"latent_dropout": 0.5, "latent_weighting": "elbo", "fully_masked_share": 0.5}),
        ("continuous", {"consistency_weight": 0.5, "consistency_clean_latents": True}),
        ("vector", {"consistency_weight": 0.5, "token_weighting": "elbo", "latent_dropout": 0.5}),
    ],
)
def test_nor_does_any_term_of_it(kind, options, make_trainer, precise_model):
    assert_same_update(lambda: precise_model(kind), make_trainer, texts_of_all_lengths(), **options)


def test_the_latents_loss_is_not_scaled_by_how_many_examples_keep_theirs(make_trainer, stirred_model):
    logs = []
    for cut in CUTS:
        _, trainer = update(
            stirred_model("continuous"), make_trainer, *cut, texts_of_all_lengths(), steps=1, latent_dropout=0.5
        )
        logs.append(logged(trainer, "latent_loss")[0])
    assert logs == pytest.approx([logs[0]] * len(CUTS), abs=1e-6) and logs[0] > 0


def test_an_epochs_last_step_of_fewer_batches_is_one_batch_too(make_trainer, stirred_model):
    data = texts_of_all_lengths() + texts_of_all_lengths()[:3]
    whole, _ = update(stirred_model("none"), make_trainer, 8, 1, data, steps=4)
    cut, _ = update(stirred_model("none"), make_trainer, 1, 8, data, steps=4)
    for name, weight in whole.items():
        torch.testing.assert_close(cut[name], weight, atol=1e-6, rtol=1e-6, msg=name)


def test_a_learned_codebook_moves_once_in_a_step_towards_all_that_it_was_shown(precise_model):
    tokens = torch.randint(1, 10, (8, 12), generator=torch.Generator().manual_seed(0))
    whole, cut = precise_model("vector").train(), precise_model("vector").train()
    whole.encode(tokens)
    start = cut.quantizer.quantize._codebook.embed.clone()
    cut.quantizer.accumulates = True
    for row in tokens[:-1].split(3):
        cut.encode(row)
        assert torch.equal(cut.quantizer.quantize._codebook.embed, start)
    cut.quantizer.accumulates = False
    cut.encode(tokens[-1:])
    assert not torch.equal(cut.quantizer.quantize._codebook.embed, start)
    for name, buffer in whole.quantizer.named_buffers():
        torch.testing.assert_close(cut.quantizer.get_buffer(name), buffer, atol=1e-6, rtol=1e-6, msg=name)


def test_what_a_stream_has_left_at_its_end_waits_for_the_rest_of_its_step(make_trainer, stirred_model):
    rows = [{"input_ids": row["input_ids"][:12].tolist()} for row in texts(20)]
    stream = Dataset.from_list(rows).to_iterable_dataset()  # five batches of four, two to a step
    learnt, trainer = update(stirred_model("none"), make_trainer, 4, 2, stream, steps=5)
    whole, log = update(stirred_model("none"), make_trainer, 8, 1, [*rows, *rows], steps=5)
    assert logged(trainer) == pytest.approx(logged(log), abs=1e-5)
    for name, weight in whole.items():
        torch.testing.assert_close(learnt[name], weight, atol=1e-5, rtol=1e-5, msg=name)
    short = Dataset.from_list(rows[:4]).to_iterable_dataset()
    with pytest.raises(ValueError, match="The training stream ends after 1 batches, fewer than"):
        update(stirred_model("none"), make_trainer, 4, 3, short)


def test_a_step_that_failed_leaves_nothing_in_the_codebook(stirred_model):
    quantizer, tokens = stirred_model("vector").train(), torch.randint(1, 10, (4, 12))
    quantizer.quantizer.accumulates = True
    quantizer.encode(tokens)
    quantizer.quantizer.start_step()
    assert not quantizer.quantizer.accumulates and not quantizer.quantizer._shown


# --- the counts ---


def test_counts_are_of_what_is_scored_and_at_least_one():
    labels = torch.tensor([[1, 2, -100, 4], [-100, -100, -100, 3]])
    mask = torch.tensor([[1, 1, 1, 0], [1, 1, 1, 1]])
    dropped = torch.tensor([True, False])
    counted = batch_counts(maskable_tokens(labels, mask), dropped)
    assert counted.tolist() == [3, 2, 1]
    both = StepCounts.of(total([counted, counted], counted.device), processes=2)
    assert (both.tokens, both.examples, both.examples_with_latents) == (3, 2, 1)
    nothing = StepCounts.of(total([], counted.device))
    assert (nothing.tokens, nothing.examples, nothing.examples_with_latents) == (1, 1, 1)


def test_which_examples_lose_their_latents_is_known_from_their_numbers_alone(stirred_model):
    model, examples = stirred_model("continuous").train(), torch.arange(400)
    noise = TrainingNoise(3, examples)
    dropped = noise.drops_latents(0.3)
    assert torch.equal(dropped[7:9], TrainingNoise(3, examples[7:9]).drops_latents(0.3))
    assert dropped.double().mean() == pytest.approx(0.3, abs=0.08)
    assert not noise.drops_latents(0.0).any() and noise.drops_latents(1.0).all()
    tokens = torch.randint(1, 10, (1, 12)).expand(len(examples), -1)
    objective = TrainingObjective(latent_dropout=1.0)
    assert model(tokens, labels=tokens, objective=objective, noise=noise, loss_only=True).loss_parts["latent_loss"] == 0
