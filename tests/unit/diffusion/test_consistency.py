"""The consistency term: its targets are laws at nested masks, its minimum is the cross-entropy's."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from helpers.exact_denoiser import SEQUENCES, ExactDenoiser, K, M, S, V
from helpers.model_calls import gradients, some_tokens
from helpers.model_calls import loss_of as model_loss

from ladd_hf import TrainingNoise, TrainingObjective
from ladd_hf.diffusion.noise_schedules import mask_schedule
from ladd_hf.diffusion.training_loss import training_loss

# A population: each text so many times, so that a sum over it is an expectation.
COUNTS = torch.randint(1, 6, (V**S,), generator=torch.Generator().manual_seed(0))
POPULATION = SEQUENCES.repeat_interleave(COUNTS, 0)
TABLE = COUNTS.double() / COUNTS.sum()
ALONE = {"token_loss_weight": 0.0, "latent_loss_weight": 0.0, "consistency_weight": 1.0}


class Student(ExactDenoiser):
    """The exact denoiser, with learnable additions to its logits in every state of tokens and codes."""

    def __init__(self, with_codes=True, **schedules):
        super().__init__(TABLE, with_codes, **schedules)
        states = (V + 1) ** S * (K + 1) ** M
        self.added = torch.zeros(states, S, V + 1, dtype=torch.float64).requires_grad_()

    def denoise(self, input_ids, latents=None, logits_mask=None, **kwargs):
        output = super().denoise(input_ids, latents, logits_mask, **kwargs)
        state = (input_ids * (V + 1) ** torch.arange(S)).sum(1) * (K + 1) ** M
        if latents is not None:
            state = state + (latents * (K + 1) ** torch.arange(M)).sum(1)
        output.logits = output.logits + self.added[state][logits_mask]
        return output


def loss_of(denoiser, tokens, examples, teacher=None, seed=0, maskable=None, **settings):
    maskable = torch.ones_like(tokens, dtype=torch.bool) if maskable is None else maskable
    noise = TrainingNoise(seed, examples)
    return training_loss(denoiser, tokens, maskable, None, TrainingObjective(**settings), noise, teacher=teacher)


def of_population(student, seed, **settings):
    """Loss with the same times and masks for the whole population: exactly its expectation given them."""
    same = torch.full((len(POPULATION),), seed)
    return loss_of(student, POPULATION, same, ExactDenoiser(TABLE, student.latent_channel is not None), **settings)


def of_texts(student, rows=2000, **settings):
    tokens = SEQUENCES[torch.randint(0, V**S, (rows,), generator=torch.Generator().manual_seed(1))]
    loss = loss_of(student, tokens, torch.arange(rows), **settings)
    return loss, tokens, student.calls


WAYS = {
    "tokens alone": (False, {}),
    "same latents": (True, {}),
    "clean latents": (True, {"consistency_clean_latents": True}),
    "the bound's weights": (True, {"token_weighting": "elbo", "time_distribution": "joint"}),
    "dropped latents": (True, {"latent_dropout": 0.5, "consistency_clean_latents": True}),
    "all masked": (True, {"fully_masked_share": 1.0, "consistency_min_jump": 0.5}),
}


@pytest.mark.parametrize(("with_codes", "settings"), WAYS.values(), ids=WAYS)
def test_its_expected_gradient_is_zero_at_the_exact_denoiser_and_at_no_other(with_codes, settings):
    student, taught = Student(with_codes), 0
    for seed in range(24):
        loss = of_population(student, seed, **ALONE, **settings)
        (gradient,) = torch.autograd.grad(loss.total, student.added)
        assert gradient.abs().max() < 1e-12
        taught += float(loss.parts["consistency_loss"]) > 1e-3
    assert taught >= 3, "single predictions do differ from their average"
    moved = Student(with_codes)
    with torch.no_grad():
        moved.added.normal_(generator=torch.Generator().manual_seed(2))
    largest = []
    for seed in range(24):
        loss = of_population(moved, seed, **ALONE, **settings)
        largest.append(float(torch.autograd.grad(loss.total, moved.added)[0].abs().max()))
    assert max(largest) > 0.01
    for seed in (one for one in range(24) if largest[one] > 0.01):
        more, exact = (float(of_population(one, seed, **ALONE, **settings).total.detach()) for one in (moved, student))
        assert more > exact


@pytest.mark.parametrize("schedule", ["linear", "polynomial", "cosine"])
@pytest.mark.parametrize("jumps", [(0.0, 1.0), (0.7, 0.9), (0.5, 0.5)])
def test_masked_tokens_are_revealed_by_the_text_up_to_a_time_in_the_range(schedule, jumps):
    least, largest = jumps
    student = Student(token_schedule=schedule)
    _, tokens, (now, further) = of_texts(
        student, consistency_weight=1.0, consistency_min_jump=least, consistency_max_jump=largest
    )
    hidden, still = (call["input_ids"] == V for call in (now, further))
    assert torch.equal(further["input_ids"], torch.where(still, V, tokens)) and torch.equal(
        further["logits_mask"], still
    )
    assert not (still & ~hidden).any() and (still != hidden).any()
    t, s = (call["token_timesteps"] for call in (now, further))
    jump = 1 - s / t
    assert least - 1e-9 <= jump.min() <= jump.max() <= largest + 1e-9
    assert abs(jump.mean() - (least + largest) / 2) <= 5 * (largest - least) / math.sqrt(12 * len(t)) + 1e-9
    alpha = mask_schedule(schedule).alpha
    stays = ((1 - alpha(s)) / (1 - alpha(t)))[:, None].expand_as(hidden)[hidden]
    wrong = (still[hidden].double() - stays).sum() / (stays * (1 - stays)).sum().sqrt()
    assert abs(wrong) < 5


def test_the_teacher_sees_the_same_latents_or_clean_ones():
    student = Student()
    _, _, (now, further) = of_texts(student, consistency_weight=1.0, latent_dropout=0.3)
    for name in ("latents", "latent_timesteps", "latent_vectors"):
        assert torch.equal(now[name], further[name])
    student = Student()
    _, tokens, (now, further) = of_texts(
        student, consistency_weight=1.0, latent_dropout=0.3, consistency_clean_latents=True
    )
    assert torch.equal(further["latents"], student._codes(tokens)) and not further["latent_timesteps"].any()
    assert (now["latents"] == K).any() and now["latent_timesteps"].any()


def test_a_jump_of_nothing_teaches_nothing_and_one_to_the_end_has_nothing_to_teach():
    for jump in (0.0, 1.0):
        student = Student()
        with torch.no_grad():
            student.added.normal_(generator=torch.Generator().manual_seed(2))
        loss, *_ = of_texts(student, 50, **ALONE, consistency_min_jump=jump, consistency_max_jump=jump)
        (gradient,) = torch.autograd.grad(loss.total, student.added)
        torch.testing.assert_close(loss.total, torch.zeros(()).to(loss.total), atol=1e-12, rtol=0)
        assert gradient.abs().max() < 1e-12


def test_prompts_stay_visible_and_are_not_scored():
    student, maskable = Student(), torch.tensor([False, True, True]).expand(V**S, -1)
    loss_of(student, SEQUENCES, torch.arange(V**S), maskable=maskable, consistency_weight=1.0, fully_masked_share=1.0)
    for call in student.calls:
        assert torch.equal(call["input_ids"][:, 0], SEQUENCES[:, 0]) and not call["logits_mask"][:, 0].any()


def test_only_the_student_is_taught():
    student, teacher = Student(), Student()
    with torch.no_grad():
        teacher.added.normal_(generator=torch.Generator().manual_seed(2))
    loss, *_ = of_texts(student, 50, teacher=teacher, **ALONE)
    mine, theirs = torch.autograd.grad(loss.total, (student.added, teacher.added), allow_unused=True)
    assert mine.any() and theirs is None and len(student.calls) == len(teacher.calls) == 1
    student = Student()  # its own teacher
    with torch.no_grad():
        student.added.copy_(teacher.added)
    loss, _, (now, further) = of_texts(student, 50, **ALONE)
    (gradient,) = torch.autograd.grad(loss.total, student.added)
    with torch.no_grad():
        said = student.denoise(**further).logits
        own = student.denoise(**now).logits[further["logits_mask"][now["logits_mask"]]]
    p, q = said.softmax(-1)[:, :V], own.softmax(-1)[:, :V]
    expected = torch.where(p > 0, p * (p / q).log(), 0).sum() / (50 * S)
    torch.testing.assert_close(loss.total.detach(), expected)
    assert gradient.any()


def test_all_other_terms_and_their_noise_stay_as_they_are():
    settings = {"latent_dropout": 0.3, "contrastive_weight": 0.1, "conditional_independence_weight": 0.1}
    without, with_it = (of_texts(Student(), consistency_weight=weight, **settings) for weight in (0.0, 1.0))
    assert with_it[0].parts.pop("consistency_loss") > 0
    assert with_it[0].parts.keys() == without[0].parts.keys()
    for name, value in without[0].parts.items():
        assert torch.equal(value, with_it[0].parts[name]), name
    assert len(with_it[2]) == len(without[2]) + 1, "one evaluation more"


def test_a_batch_has_the_mean_of_its_parts_losses():
    student, tokens = Student(), SEQUENCES[:24]
    whole = loss_of(student, tokens, torch.arange(24), consistency_weight=1.0).parts["consistency_loss"]
    parts = [
        loss_of(student, tokens[i : i + 8], torch.arange(i, i + 8), consistency_weight=1.0).parts["consistency_loss"]
        for i in range(0, 24, 8)
    ]
    torch.testing.assert_close(torch.stack(parts).mean(), whole)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"consistency_weight": -1.0}, "`consistency_weight` is -1"),
        ({"consistency_max_jump": 1.5}, "`consistency_max_jump` is 1.5; give a share"),
        ({"consistency_min_jump": 0.5, "consistency_max_jump": 0.4}, "is 0.5 and `consistency_max_jump` 0.4: give"),
        ({"consistency_teacher": "ema"}, "`consistency_teacher` 'ema' is unknown; give 'average' or 'model'"),
    ],
)
def test_what_cannot_be_is_refused(settings, said):
    with pytest.raises(ValueError, match=said):
        TrainingObjective(**settings)


def test_clean_latents_are_refused_for_a_model_without_latents():
    with pytest.raises(ValueError, match="does nothing for a model"):
        TrainingObjective(consistency_clean_latents=True).check_fits("none")


# --- the models ---


@pytest.mark.parametrize("kind", ["none", "continuous", "anchors", "separate", "discrete", "vector", "gumbel"])
def test_each_kind_of_model_learns_from_itself_and_from_another(kind, stirred_model):
    tokens = some_tokens(8)
    models = [stirred_model(kind).train() for _ in range(2)]
    with torch.no_grad():
        for weight in models[1].parameters():
            weight.add_(0.1)
    student = models[0]
    state = {name: one.clone() for name, one in models[1].state_dict().items()}
    for clean in (False, True)[: 1 if kind == "none" else 2]:
        given = TrainingObjective(consistency_weight=2.0, consistency_clean_latents=clean)
        plain, own, taught = (
            model_loss(copy.deepcopy(student), tokens, objective=objective, teacher=teacher)  # for codebooks move
            for objective, teacher in ((TrainingObjective(), None), (given, None), (given, models[1]))
        )
        assert own.loss_parts["consistency_loss"] != taught.loss_parts["consistency_loss"]
        torch.testing.assert_close(own.loss, plain.loss + 2 * own.loss_parts["consistency_loss"])
        assert torch.equal(plain.loss_parts["token_loss"], taught.loss_parts["token_loss"])
        taught.loss.backward()
        assert all(one.grad is None for one in models[1].parameters())
    for name, one in models[1].state_dict().items():
        assert torch.equal(one, state[name]), name
    assert all(one.training for one in models)


def test_the_teacher_has_no_dropout_and_draws_nothing(stirred_model):
    model, tokens = stirred_model("none", attention_dropout=0.5).train(), some_tokens(8)
    losses = []
    for weight in (0.0, 1.0):
        torch.manual_seed(3)
        losses.append(model_loss(model, tokens, objective=TrainingObjective(consistency_weight=weight)))
        losses[-1].after = torch.rand(1)
    assert torch.equal(losses[0].loss_parts["token_loss"], losses[1].loss_parts["token_loss"])
    assert torch.equal(losses[0].after, losses[1].after) and model.training
    still = TrainingObjective(consistency_weight=1.0, consistency_min_jump=0.0, consistency_max_jump=0.0)
    assert model_loss(model, tokens, objective=still).loss_parts["consistency_loss"] > 0, "the student has dropout"
    without = stirred_model("none").train()
    assert model_loss(without, tokens, objective=still).loss_parts["consistency_loss"].abs() < 1e-6


def test_under_autocast_its_gradients_reach_all_weights(stirred_model):
    """Weights that a teacher without gradients has cast would be kept, and cut off those of the student."""
    model, tokens = stirred_model("discrete").train(), some_tokens(8)
    found = []
    for objective in (TrainingObjective(), TrainingObjective(consistency_weight=1.0)):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            loss = model_loss(model, tokens, objective=objective).loss
        found.append(gradients(model, loss))
    assert found[0].keys() == found[1].keys()
    assert all(bool(one.any()) == bool(found[1][name].any()) for name, one in found[0].items())


@pytest.mark.parametrize(
    ("teacher", "said"),
    [
        ("a model", "`teacher` is .*; give a LaddForDiffusionLM"),
        ("none", "has `latent_type` none, and this model disc"),
    ],
)
def test_what_cannot_teach_is_refused(teacher, said, stirred_model):
    teacher = stirred_model(teacher) if teacher == "none" else teacher
    with pytest.raises(ValueError, match=said):
        model_loss(stirred_model("discrete"), some_tokens(), teacher=teacher)
