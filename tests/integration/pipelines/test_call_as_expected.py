"""Calls and parts of a pipeline as people of diffusers and transformers try them at first."""

from __future__ import annotations

import doctest
import inspect
import re
import typing
from pathlib import Path

import pytest
import torch
from diffusers import DDIMScheduler
from helpers.sampling import MASK, clean_latents, seeded, tiny_tokenizer
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast, TopKLogitsWarper

from ladd_hf import LaddJointScheduler, LaddPipeline, LaddPipelineOutput
from ladd_hf.pipelines.call_options import CallOptions

# --- what is returned ---


@pytest.mark.parametrize("output_type", ["text", "seq"])
@pytest.mark.parametrize("kind", ["none", "discrete"])
def test_the_output_is_the_tuple_by_index(build, tokenizer, kind, output_type):
    pipe = build(kind, tokenizer=tokenizer)
    output, plain = (
        pipe(num_steps=3, batch_size=2, generator=seeded(), output_type=output_type, return_dict=return_dict)
        for return_dict in (True, False)
    )
    assert isinstance(output, LaddPipelineOutput) and type(plain) is tuple and len(plain) == 4
    for place, (one, other) in enumerate(zip(output.to_tuple(), plain, strict=True)):
        assert torch.equal(one, other) if torch.is_tensor(one) else one == other
        assert output[place] is output.to_tuple()[place]
    assert output[0] is (output.texts if output_type == "text" else output.sequences)
    assert output[1:3] == (None, 3) if kind == "none" else torch.equal(output[1], plain[1])
    assert torch.equal(output["sequences"], output.sequences)


def test_the_overloads_have_every_argument_of_the_call_and_tell_what_it_returns():
    overloads = typing.get_overloads(LaddPipeline.__call__)
    returns = {inspect.signature(one).parameters["return_dict"].annotation: one for one in overloads}
    assert set(returns) == {"Literal[True]", "Literal[False]", "bool"}
    kinds = {name: inspect.signature(one).return_annotation for name, one in returns.items()}
    assert kinds["Literal[True]"] == "LaddPipelineOutput" and kinds["Literal[False]"] == "RunTuple"
    call = {name: one for name, one in inspect.signature(LaddPipeline.__call__).parameters.items() if name != "self"}
    for one in overloads:
        own = {name: p for name, p in inspect.signature(one).parameters.items() if name not in ("self", "options")}
        assert list(own)[:5] == list(call)[:5], "in the call's order, for those given by position"
        annotations = {name: p.annotation for name, p in own.items()} | {
            name: one.__forward_arg__ for name, one in CallOptions.__annotations__.items()
        }
        assert annotations.keys() == call.keys()
        assert [name for name in call if name != "return_dict" and annotations[name] != call[name].annotation] == []
        assert all(p.default == call[name].default for name, p in own.items() if p.default is not p.empty)


def test_the_example_in_the_docstring_runs(stirred_model, tmp_path, monkeypatch):
    (example,) = re.findall(r"```python\n(.*?)```", LaddPipeline.__call__.__doc__, re.DOTALL)
    words = ["[PAD]", *sorted({word for text in re.findall(r'"([^"]*)"', example) for word in text.split()}), "[MASK]"]
    plain = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="[PAD]"))
    plain.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=plain, pad_token="[PAD]", mask_token="[MASK]")
    model = stirred_model("discrete", vocab_size=len(words), mask_token_id=len(words) - 1)
    monkeypatch.chdir(tmp_path)
    LaddPipeline(model, tokenizer=tokenizer).save_pretrained(Path("user") / "pipeline")
    failed = []
    test = doctest.DocTestParser().get_doctest(example, {}, "example", None, None)
    assert len(test.examples) > 5
    doctest.DocTestRunner(verbose=False).run(test, out=failed.append)
    assert not failed, "".join(failed)


# --- top k ---


def test_top_k_draws_what_the_warper_of_transformers_lets_be_drawn(build, scheduler):
    pipe = build("discrete", scheduler)
    options = {"num_steps": 4, "batch_size": 20}
    plain = pipe(generator=seeded(), **options).sequences
    by_option = pipe(top_k=2, generator=seeded(), **options).sequences
    by_warper = pipe(logits_processor=[NoPadding(), TopKLogitsWarper(2)], generator=seeded(), **options).sequences
    assert torch.equal(by_option, by_warper) and not torch.equal(by_option, plain)
    assert torch.equal(pipe(top_k=50, generator=seeded(), **options).sequences, plain)
    given = {"num_steps": 1, "latents": clean_latents("discrete", 1)}
    one, greedy = pipe(top_k=1, generator=seeded(), **given), pipe(temperature=0, **given)
    assert torch.equal(one.sequences, greedy.sequences)
    with pytest.raises(ValueError, match="`top_k` is 0; give a whole number of tokens of at least 1, or None"):
        pipe(num_steps=2, top_k=0)


class NoPadding:
    """Forbids what is never written, which the warper of transformers would count."""

    def __call__(self, input_ids, scores):
        return scores.index_fill(1, torch.tensor([0, MASK]), -torch.inf)


# --- parts, and arguments in the wrong place ---


def test_no_scheduler_means_the_default_one_wherever_it_is_said(build, stirred_model, tmp_path):
    model = stirred_model("discrete")
    for pipe in (LaddPipeline(model), LaddPipeline(model, None), LaddPipeline(model, scheduler=None)):
        assert type(pipe.scheduler) is LaddJointScheduler
    pipe = build("discrete", "sequential")
    pipe.save_pretrained(tmp_path)
    assert type(LaddPipeline.from_pretrained(tmp_path, scheduler=None).scheduler) is LaddJointScheduler
    pipe.scheduler = None
    assert type(pipe.scheduler) is LaddJointScheduler and pipe.scheduler.noise_process.mask_token_id == MASK


@pytest.mark.parametrize(
    ("parts", "said"),
    [
        (
            lambda m: (m, tiny_tokenizer()),
            "`scheduler` is a .*; give a scheduler .*, or leave it out .*`tokenizer=`",
        ),
        (lambda m: (m, DDIMScheduler()), "is a DDIMScheduler, whose steps know no token and latent times; give"),
        (lambda m: (m, LaddJointScheduler), "`scheduler` is the class LaddJointScheduler; give a scheduler"),
        (lambda m: (m, "joint"), "`scheduler` is 'joint'; give a scheduler"),
        (lambda m: (m, None, LaddJointScheduler()), "The tokenizer is a LaddJointScheduler; give one of transformers'"),
        (lambda m: (LaddJointScheduler(), m), "`model` is a LaddJointScheduler; give a LaddForDiffusionLM"),
    ],
)
def test_a_part_in_the_wrong_place_gets_a_sentence(stirred_model, parts, said):
    with pytest.raises(ValueError, match=said) as found:
        LaddPipeline(*parts(stirred_model("discrete")))
    assert "\n" not in str(found.value)


def test_a_foreign_scheduler_is_refused_where_it_is_loaded_or_set_too(build, tmp_path):
    pipe = build("discrete")
    pipe.save_pretrained(tmp_path)
    before = pipe.scheduler
    with pytest.raises(ValueError, match="`scheduler` is a DDIMScheduler"):
        pipe.scheduler = DDIMScheduler()
    assert pipe.scheduler is before
    with pytest.raises(ValueError, match="`scheduler` is a DDIMScheduler"):
        LaddPipeline.from_pretrained(tmp_path, scheduler=DDIMScheduler())


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((8,), r"`prompt` is 8; give texts, or lists of token ids, and a number of steps by name \(`num_steps=`\)"),
        (([1], seeded()), "`num_steps` is <torch"),
        (([1], 2, seeded()), "`batch_size` is <torch"),
        (([1], 2, 1, seeded()), "`length` is <torch"),
        (([1], 2, 1, 4, 0), "`generator` is 0"),
    ],
    ids=["steps", "generator 1", "generator 2", "generator 3", "seed"],
)
def test_an_argument_in_the_wrong_place_gets_a_sentence(build, arguments, said):
    with pytest.raises(ValueError, match=said) as found:
        build("none")(*arguments)
    assert "\n" not in str(found.value)


# --- lengths ---


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"length": 13}, r"`length` is 13; this model writes 1 to 12 tokens \(`max_position_embeddings`\)"),
        ({"length": [4, 13]}, r"`length` is \[4, 13\]; this model writes 1 to 12 tokens"),
        ({"prompt": [1] * 13, "length": "prompt"}, "`length` is 'prompt', of 13 tokens; this model writes 1 to 12"),
    ],
    ids=str,
)
def test_a_text_longer_than_the_models_is_refused_with_what_to_do(build, options, said):
    with pytest.raises(ValueError, match=said + ".*write a longer text as several"):
        build("none")(num_steps=2, **options)
