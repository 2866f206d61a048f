"""Optimisers that average weights themselves."""

from __future__ import annotations

import pytest
import torch
from helpers.training import logged, texts


class AveragingSGD(torch.optim.SGD):
    """Trains weights, and in evaluation mode puts their mean in their place: as schedule-free optimisers do."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.mean, self.count, self.trained = None, 0, None

    def weights(self):
        return [weight for group in self.param_groups for weight in group["params"]]

    def step(self, closure=None):
        assert self.trained is None, "it is in evaluation mode"
        super().step(closure)
        self.count += 1
        weights = [weight.detach().clone() for weight in self.weights()]
        if self.mean is None:
            self.mean = weights
        else:
            self.mean = [m + (w - m) / self.count for m, w in zip(self.mean, weights, strict=True)]

    def eval(self):
        if self.trained is None and self.mean is not None:
            self.trained = [weight.detach().clone() for weight in self.weights()]
            self.put(self.mean)

    def train(self):
        if self.trained is not None:
            self.put(self.trained)
            self.trained = None

    @torch.no_grad()
    def put(self, values):
        for weight, value in zip(self.weights(), values, strict=True):
            weight.copy_(value)


def test_averaging_optimisers_are_refused_beside_an_average(make_trainer, tiny_model):
    options = {"optimizer_cls_and_kwargs": (AveragingSGD, {"lr": 0.1})}
    with pytest.raises(ValueError, match=r"The optimiser AveragingSGD averages .*: set `ema_decay` to 0"):
        make_trainer("none", "one", trainer_options=options).train()
    model = tiny_model("none")
    options = {"optimizers": (AveragingSGD(model.parameters(), lr=0.1), None)}
    with pytest.raises(ValueError, match=r"The optimiser AveragingSGD averages .*: set `ema_decay` to 0"):
        make_trainer(model, "other", trainer_options=options).train()


def test_averaging_optimisers_are_refused_where_the_best_weights_are_to_be_loaded(make_trainer):
    options = {"optimizer_cls_and_kwargs": (AveragingSGD, {"lr": 0.1})}
    best = {"load_best_model_at_end": True, "eval_strategy": "steps", "eval_steps": 2, "save_strategy": "steps"}
    trainer = make_trainer("none", eval_data=texts(2), ema_decay=0, save_steps=2, trainer_options=options, **best)
    with pytest.raises(ValueError, match="cannot be given to it: leave `load_best_model_at_end` out"):
        trainer.train()


def test_an_averaging_optimiser_is_evaluated_at_its_average(make_trainer, tmp_path):
    runs = []
    for name, often in (("seldom", {}), ("often", {"eval_strategy": "steps", "eval_steps": 1})):
        options = {"optimizer_cls_and_kwargs": (AveragingSGD, {"lr": 0.1})}
        trainer = make_trainer(
            "discrete", name, eval_data=texts(4), ema_decay=0.0, max_grad_norm=0.0, trainer_options=options, **often
        )
        trainer.train()
        trainer.save_pipeline(str(tmp_path / f"{name} saved"))
        runs.append(trainer)
    assert logged(runs[0]) == logged(runs[1]), "evaluation leaves the training alone"
    from safetensors.torch import load_file

    weights = [load_file(tmp_path / f"{name} saved" / "model" / "model.safetensors") for name in ("seldom", "often")]
    optimizer = getattr(runs[0].optimizer, "optimizer", runs[0].optimizer)
    saved = weights[0]["token_head.proj.weight"]
    assert torch.equal(saved, weights[1]["token_head.proj.weight"])
    assert any(saved.shape == mean.shape and torch.equal(saved, mean) for mean in optimizer.mean)
