"""A choice of one's own is registered by one call, used by its name, and found again in what was saved."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module

import pytest
import torch
from datasets import Dataset
from helpers.registries import REGISTRIES, kept

import ladd_hf
from ladd_hf import LaddForDiffusionLM
from ladd_hf.data import load_corpus, register_corpus
from ladd_hf.diffusion.noise_schedules import GaussianSchedule, PolynomialMaskSchedule
from ladd_hf.models.encoders.pooling import Pooling, last_token
from ladd_hf.models.quantizers.gumbel import GumbelQuantizer
from ladd_hf.models.quantizers.quantizer_options import GumbelOptions
from ladd_hf.utils.registry import Registry


class Cubic(PolynomialMaskSchedule):
    def __init__(self, bend: float = 0.0) -> None:
        super().__init__(degree=3 + bend)


def fourth_power(t):
    return (1 - t) ** 4


def quartic(eps: float = 1e-4) -> GaussianSchedule:
    return GaussianSchedule(fourth_power, eps)


@dataclass(frozen=True)
class WarmOptions(GumbelOptions):
    temperature: float = 7.0


@pytest.fixture(autouse=True)
def registries():
    with kept():
        yield


# public function, what is registered, kind of model, settings that use it, and whether the model has it
CHOICES = {
    "a mask schedule of tokens": (
        *("register_mask_schedule", Cubic, "none", {"token_noise_schedule": "mine"}),
        lambda model: model.token_channel.schedule.degree == 3,
    ),
    "a mask schedule of codes, with options": (
        *("register_mask_schedule", Cubic, "discrete", {"latent_noise_schedule": {"name": "mine", "bend": 0.5}}),
        lambda model: model.latent_channel.schedule.degree == 3.5,
    ),
    "a Gaussian schedule": (
        *(
            "register_gaussian_schedule",
            quartic,
            "continuous",
            {"latent_noise_schedule": {"name": "mine", "eps": 0.01}},
        ),
        lambda model: float(model.latent_channel.schedule.signal_variance(torch.tensor(1.0))) == pytest.approx(0.01),
    ),
    "a quantiser": (
        *("register_quantizer", WarmOptions, "gumbel", {"quantizer": "mine"}),
        lambda model: isinstance(model.quantizer, GumbelQuantizer) and model.quantizer.temperature == 7,
    ),
    "a quantiser with options": (
        *("register_quantizer", WarmOptions, "gumbel", {"quantizer": {"name": "mine", "temperature": 2}}),
        lambda model: model.quantizer.temperature == 2,
    ),
}


@pytest.mark.parametrize("case", CHOICES)
def test_a_choice_of_ones_own_is_used_by_name_and_found_again(case, tiny_model, tmp_path):
    register, entry, kind, settings, has_it = CHOICES[case]
    with pytest.raises(ValueError, match=r"'mine' is unknown; give one of \["):
        tiny_model(kind, **settings)
    getattr(ladd_hf, register)("mine", entry)
    model = tiny_model(kind, **settings)
    model.save_pretrained(tmp_path)
    loaded = LaddForDiffusionLM.from_pretrained(tmp_path)
    assert has_it(model) and has_it(loaded)
    (name, setting), *_ = settings.items()
    assert getattr(loaded.config, name) == setting


def test_a_pooling_of_ones_own_is_used_by_name_and_found_again(encoder_model, tmp_path):
    sizes = {"latent_length": 1, "latent_dim": 16}
    with pytest.raises(ValueError, match="The pooling 'mine' is unknown"):
        encoder_model(encoder_pooling="mine", **sizes)
    ladd_hf.register_pooling("mine", Pooling(has_chunks=False, whole=last_token))
    encoder_model(encoder_pooling="mine", **sizes).save_pretrained(tmp_path)
    tokens = torch.randint(1, 10, (3, 12))
    expected = encoder_model(encoder_pooling="last_token", **sizes).encode_latents(tokens)
    assert torch.equal(LaddForDiffusionLM.from_pretrained(tmp_path).encode_latents(tokens), expected)


def test_a_corpus_of_ones_own_is_used_by_name():
    class Mine:
        splits = ("train",)

        def load(self, split, streaming, num_proc=None, **options):
            return Dataset.from_dict({"text": [split]})

    with pytest.raises(ValueError, match="no corpus, file or folder 'mine'"):
        load_corpus("mine")
    register_corpus("mine", Mine())
    assert load_corpus("mine", "train")["text"][:] == ["train"]


# --- the registry itself ---


@pytest.mark.parametrize("registry", REGISTRIES, ids=lambda registry: registry.kind)
def test_a_name_is_given_once(registry):
    entry = object()
    with kept():
        registry.register("own", entry)
        registry.register("own", entry)  # a module that is imported twice
        with pytest.raises(ValueError, match=f"There is a {registry.kind} 'own' already: choose another name"):
            registry.register("own", object())
        with pytest.raises(ValueError, match=f"name of a {registry.kind} is 3; give a text"):
            registry.register(3, object())


def test_a_registry_builds_of_a_name_and_options():
    registry = Registry("number", {"constant": lambda: 7, "sum": lambda a, b=1: a + b})
    registry.register("twice")(lambda a: 2 * a)
    assert registry.build("constant") == registry.build({"name": "constant"}) == 7
    assert registry.build({"name": "sum", "a": 2}) == 3 and registry.build({"name": "twice", "a": 2}) == 4
    assert list(registry) == ["constant", "sum", "twice"] and len(registry) == 3


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("third", "The number 'third' is unknown; give one of ['sum']."),
        ({"a": 1}, "The number is {'a': 1}; give its name ('sum'), or a mapping of its `name` and options."),
        (None, "The number is None; give its name ('sum'), or a mapping of its `name` and options."),
        ({"name": ["sum"]}, "The number is {'name': ['sum']}; give its name ('sum'), or a mapping of its `name` and"),
        ({"name": "sum", "c": 1}, "The number 'sum' has no option 'c'; it takes `a`, `b`."),
        ("sum", "The number 'sum' needs the option `a`: give it beside `name`."),
    ],
)
def test_what_names_no_choice_is_refused_in_one_sentence(spec, message):
    with pytest.raises(ValueError) as refused:
        Registry("number", {"sum": lambda a, b=1: a + b}).build(spec)
    assert str(refused.value).startswith(message)


def test_a_name_of_this_package_is_taken_before_its_module_is_imported(tmp_path, monkeypatch):
    package = tmp_path / "lazypackage"
    package.mkdir()
    (package / "__init__.py").write_text("from .choices import CHOICES")
    (package / "choices.py").write_text(
        "from ladd_hf.utils.registry import Registry\n"
        "CHOICES = Registry('choice', modules={'one': 'ones', 'two': 'ones'}, package=__package__)\n"
    )
    (package / "ones.py").write_text(
        "from .choices import CHOICES\nCHOICES.register('one', 1)\nCHOICES.register('two', 2)\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    choices = import_module("lazypackage").CHOICES
    with pytest.raises(ValueError, match="There is a choice 'one' already"):
        choices.register("one", 3)
    assert choices["one"] == 1 and choices["two"] == 2


def test_a_class_defined_once_more_takes_the_place_of_the_first():
    registry = Registry("choice")
    made = []
    for _ in range(2):

        @registry.register("own")
        class Own:
            """As a notebook's cell that runs twice defines it."""

        made.append(Own)
    assert registry["own"] is made[1]
    registry.register("short", lambda: 1)
    with pytest.raises(ValueError, match="already"):
        registry.register("short", lambda: 2)
