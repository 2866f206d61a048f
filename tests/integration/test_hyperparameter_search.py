"""A search's trials are trained as their arguments say, and judged by the bound."""

from __future__ import annotations

import optuna
import pytest
import torch
from helpers.training import logged, texts

optuna.logging.set_verbosity(optuna.logging.ERROR)


@pytest.fixture
def search(make_trainer, tiny_model):
    """`search(space, **arguments)`: the trainer behind a search over lists of values, its best trial, and what each
    trial trained with, learnt and logged."""

    def run(space, **options):
        trials = []

        def model_init(trial=None):
            torch.manual_seed(0)
            return tiny_model("discrete").train()

        trainer = make_trainer(
            None,
            eval_data=texts(5, seed=1),
            max_steps=3,
            eval_strategy="steps",
            eval_steps=3,
            trainer_options={"model_init": model_init},
            **options,
        )
        train = trainer.train

        def watched(*args, **kwargs):
            result = train(*args, **kwargs)
            average = None if trainer.ema is None else [x.clone() for x in trainer.ema.average.shadow_params]
            bound = [entry["eval_loss"] for entry in trainer.state.log_history if "eval_loss" in entry][-1]
            trials.append({"average": average, "losses": logged(trainer), "bound": bound})
            trials[-1] |= {name: getattr(trainer.args, name) for name in ("ema_decay", "seed", "data_seed")}
            return result

        trainer.train = watched
        grid = optuna.samplers.GridSampler(space)
        best = trainer.hyperparameter_search(
            lambda trial: {name: trial.suggest_categorical(name, values) for name, values in space.items()},
            backend="optuna",
            n_trials=len(next(iter(space.values()))),
            sampler=grid,
        )
        return trainer, best, trials

    return run


def test_the_objective_is_the_bound_and_the_best_trial_has_the_lowest(search):
    _, best, trials = search({"learning_rate": [1e-4, 3e-2]}, nelbo_paths=["joint", "sequential"])
    assert best.objective == pytest.approx(min(trial["bound"] for trial in trials))
    assert len({trial["bound"] for trial in trials}) == 2


def test_a_searched_decay_is_the_averages(search):
    _, _, trials = search({"ema_decay": [0.0, 0.05, 0.9]})
    by_decay = {trial["ema_decay"]: trial for trial in trials}
    assert by_decay[0.0]["average"] is None
    assert by_decay[0.05]["losses"] == by_decay[0.9]["losses"]
    assert by_decay[0.05]["bound"] != by_decay[0.9]["bound"] != by_decay[0.0]["bound"]


def test_a_searched_seed_is_that_of_weights_data_and_noise(search, make_trainer):
    _, _, trials = search({"seed": [3, 4]}, learning_rate=0.0)
    by_seed = {trial["seed"]: trial for trial in trials}
    assert {trial["data_seed"] for trial in trials} == {3, 4}
    assert by_seed[3]["losses"] != by_seed[4]["losses"]
    alone = make_trainer("discrete", "alone", max_steps=3, learning_rate=0.0, seed=4)
    alone.train()
    assert logged(alone) == by_seed[4]["losses"]


def test_a_searched_seed_for_the_data_is_the_datas(search):
    _, _, trials = search({"data_seed": [3, 4]})
    assert {trial["data_seed"] for trial in trials} == {3, 4} and {trial["seed"] for trial in trials} == {42}
    assert trials[0]["losses"] != trials[1]["losses"]


def test_a_seed_for_the_data_that_was_given_stays(search):
    _, _, trials = search({"seed": [3, 4]}, data_seed=9)
    assert {trial["data_seed"] for trial in trials} == {9}


@pytest.mark.parametrize(
    ("space", "message"),
    [
        ({"latent_dropout": [1.5]}, "`latent_dropout` is 1.5; give a share from 0 to 1"),
        ({"latent_kl_weight": [0.1]}, "`latent_kl_weight` is 0.1, which does nothing"),
        ({"ema_decay": [-0.5]}, "`ema_decay` is -0.5; give a decay"),
        ({"label_smoothing_factor": [0.1]}, "`label_smoothing_factor` is 0.1, but the loss"),
    ],
)
def test_a_searched_value_is_checked_as_one_that_is_given(space, message, search):
    with pytest.raises(ValueError, match=message):
        search(space)


def test_several_evaluation_sets_need_an_objective_of_ones_own(make_trainer, tiny_model):
    trainer = make_trainer(
        None,
        eval_data={"a": texts(3), "b": texts(3, seed=1)},
        max_steps=1,
        eval_strategy="steps",
        eval_steps=1,
        trainer_options={"model_init": lambda: tiny_model("none")},
    )
    with pytest.raises(
        ValueError, match=r"gave no `eval_loss` to minimise, but .*eval_a_loss.*: give `compute_objective`"
    ):
        trainer.hyperparameter_search(lambda trial: {}, backend="optuna", n_trials=1)
