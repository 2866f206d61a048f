"""Token loss with own, other and no latents: the cross-entropy at masks that all three share, for any batches."""

from __future__ import annotations

import inspect

import evaluate
import pytest
import torch

from ladd_hf.diffusion.rng import RowGenerator
from ladd_hf.metrics import LatentUsefulness, latent_usefulness
from ladd_hf.metrics.latent_usefulness import usefulness_scores

TIMES = (0.4, 1.0)


def texts(number=11):
    return torch.randint(1, 10, (number, 12), generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("kind", ["continuous", "discrete"])
def test_it_is_the_cross_entropy_at_the_masks(kind, stirred_model):
    model, tokens = stirred_model(kind), texts()
    found = latent_usefulness(model, [tokens], TIMES, seed=3)
    own = model.encode(tokens).clean
    given = {"true": (own, 0.0), "shuffled": (own.roll(-1, 0), 0.0), "none": (model.latent_channel.dropped(own), 1.0)}
    for one, time in zip(found, TIMES, strict=True):
        times = torch.full((11,), time)
        random = RowGenerator.from_seed(3, torch.arange(11))
        masked = model.token_channel.add_noise(tokens, times.double(), random) == 10
        assert one.masked == masked.sum() and (time < 1 or masked.all())
        for name, (latents, latent_time) in given.items():
            with torch.no_grad():
                logits = model(
                    torch.where(masked, 10, tokens),
                    latents,
                    token_timesteps=times,
                    latent_timesteps=torch.full((11,), latent_time),
                ).logits
            nats = -logits.double().log_softmax(-1).gather(-1, tokens[..., None])[..., 0]
            assert getattr(one, name).value == pytest.approx(nats[masked].mean().item(), rel=1e-5)
            assert getattr(one, name).stderr > 0
        assert one.gain.value == pytest.approx(one.none.value - one.true.value)
        assert one.own_gain.value == pytest.approx(one.shuffled.value - one.true.value)


def test_batches_and_their_padding_change_nothing(stirred_model):
    model, tokens = stirred_model("discrete"), texts()
    mask = torch.ones_like(tokens)
    mask[:, 10:] = 0
    whole = latent_usefulness(model, [{"input_ids": tokens, "attention_mask": mask}], TIMES)
    cut = latent_usefulness(model, tokens[:, :10].split(4), TIMES)
    for one, other in zip(whole, cut, strict=True):
        assert one.masked == other.masked
        for name in ("true", "shuffled", "none", "gain", "own_gain"):
            assert getattr(one, name).value == pytest.approx(getattr(other, name).value, rel=1e-4)
            assert getattr(one, name).stderr == pytest.approx(getattr(other, name).stderr, rel=1e-3)


def test_latents_that_a_model_does_not_look_at_are_worth_nothing(tiny_model):
    """Fresh heads are zero: all three losses are those of even probabilities."""
    for one in latent_usefulness(tiny_model("continuous"), [texts()], TIMES):
        assert one.true.value == one.shuffled.value == one.none.value
        assert one.gain.value == one.gain.stderr == one.own_gain.value == 0


def test_what_has_nothing_to_measure_is_refused(tiny_model):
    model = tiny_model("discrete")
    with pytest.raises(ValueError, match="got 1, give two"):
        latent_usefulness(model, [texts(1)])
    with pytest.raises(ValueError, match="`token_times` is 0; give times above 0"):
        latent_usefulness(model, [texts()], [0])
    with pytest.raises(ValueError, match="No token is masked at the time 1e-09"):
        latent_usefulness(model, [texts()], [1e-9])
    with pytest.raises(ValueError, match="has no latents"):
        latent_usefulness(tiny_model("none"), [texts()])


def test_it_is_a_measurement_of_evaluate(stirred_model, tmp_path):
    model, tokens = stirred_model("discrete", pad_token_id=0), texts(5)
    rows = [row[:length].tolist() for row, length in zip(tokens, (12, 9, 12, 7, 12), strict=True)]
    mask = torch.tensor([[place < len(row) for place in range(12)] for row in rows]).long()
    losses = latent_usefulness(model, [{"input_ids": tokens * mask, "attention_mask": mask}], TIMES, seed=2)
    options = {"token_times": TIMES, "seed": 2, "batch_size": 2, "cache_dir": str(tmp_path)}
    found = LatentUsefulness(model, **options).compute(data=rows)
    for name, score in usefulness_scores(losses).items():
        assert found[name] == pytest.approx(score.value, rel=1e-4, abs=1e-6)
        assert found[f"{name}_stderr"] == pytest.approx(score.stderr, rel=1e-3, abs=1e-6)
    assert (found["texts"], found["seed"]) == (5, 2)
    loaded = evaluate.load(inspect.getfile(LatentUsefulness), module_type="measurement", model=model, **options)
    assert loaded.compute(data=rows) == found
    for wrong, message in (({"batch_size": 0}, "`batch_size` is 0"), ({"token_times": ()}, "give a list of times")):
        with pytest.raises(ValueError, match=message):
            LatentUsefulness(model, **{**options, **wrong})
