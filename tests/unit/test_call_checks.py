"""A call with arguments that do not fit each other or the model is refused in one sentence, before anything runs."""

from __future__ import annotations

import pytest
import torch
from helpers.model_calls import KINDS, call, some_latents, some_tokens

TOKENS = torch.randint(1, 10, (2, 12), generator=torch.Generator().manual_seed(0))


def changed(one):
    tokens = TOKENS.clone()
    tokens[1, 3] = one
    return tokens


CALLS = {
    "a mask of another length": ({"attention_mask": torch.ones(2, 11)}, r"`attention_mask` has shape \(2, 11\)"),
    "a mask of other rows": ({"attention_mask": torch.ones(1, 12)}, r"`attention_mask` has shape \(1, 12\)"),
    "a mask with heads": ({"attention_mask": torch.ones(2, 1, 12, 12)}, "`attention_mask` has shape"),
    "no text": ({"input_ids": TOKENS[:0]}, r"`input_ids` have shape \(0, 12\); give \(batch, length\)"),
    "no token": ({"input_ids": TOKENS[:, :0]}, r"`input_ids` have shape \(2, 0\)"),
    "one text alone": ({"input_ids": TOKENS[0]}, r"`input_ids` have shape \(12,\)"),
    "a negative id": ({"input_ids": changed(-1)}, "the id -1, which is outside"),
    "an id beyond": ({"input_ids": changed(11)}, r"the id 11, .* \(0 to 10\)"),
    "floats for ids": ({"input_ids": TOKENS.float()}, "`input_ids` is a tensor of float32; give a tensor of token ids"),
    "booleans for ids": ({"input_ids": TOKENS > 3}, "`input_ids` is a tensor of bool"),
    "lists for ids": ({"input_ids": TOKENS.tolist()}, "`input_ids` is a list"),
    "a list for a mask": ({"attention_mask": [[1] * 12] * 2}, "`attention_mask` is a list; give a tensor of ones and"),
    "floats for labels": ({"labels": TOKENS.float()}, "`labels` is a tensor of float32"),
    "logits somewhere else": (
        {"logits_mask": torch.ones(2, 11, dtype=torch.bool)},
        r"`logits_mask` has shape \(2, 11\) for tokens of shape \(2, 12\)",
    ),
    "logits at ids": ({"logits_mask": TOKENS}, "`logits_mask` is a tensor of int64; give a tensor of booleans"),
    "labels of another length": ({"labels": TOKENS[:, :11]}, r"`labels` have shape \(2, 11\) for `input_ids`"),
}
LATENTS = {
    "too few texts": (lambda given: given[:1], "latents of 1 texts and tokens of 2 texts"),
    "no texts": (lambda given: given[:0], "latents of 0 texts"),
    "fewer latents": (lambda given: given[:, :3], "this model takes"),
    "lists": (lambda given: given.tolist(), "`latents` is a list; give a tensor"),
    "booleans": (lambda given: given > 0, "this model takes"),
    "another kind": (lambda given: given.long() if given.is_floating_point() else given.float(), "this model takes"),
}


@pytest.mark.parametrize("case", CALLS)
@pytest.mark.parametrize("kind", ["none", "discrete", "continuous"])
def test_a_call_that_does_not_fit_is_refused(kind, case, tiny_model):
    options, message = CALLS[case]
    model = tiny_model(kind)
    options = {"input_ids": TOKENS, **options}
    with pytest.raises(ValueError, match=message):
        call(model, options.pop("input_ids"), latents=some_latents(model), **options)


@pytest.mark.parametrize("case", [name for name in CALLS if not {"labels", "logits"} & set(name.split())])
@pytest.mark.parametrize("name", ["encode_latents", "encode", "model"])
def test_so_are_they_where_texts_are_encoded_or_streams_run(name, case, tiny_model):
    options, message = CALLS[case]
    ask = getattr(tiny_model("discrete"), name)
    with pytest.raises(ValueError, match=message):
        ask(options.get("input_ids", TOKENS), attention_mask=options.get("attention_mask"))


@pytest.mark.parametrize("case", LATENTS)
@pytest.mark.parametrize("kind", KINDS[1:])
def test_latents_that_do_not_fit_are_refused(kind, case, tiny_model):
    model, (change, message) = tiny_model(kind), LATENTS[case]
    given = some_latents(model)
    with pytest.raises(ValueError, match=message):
        call(model, TOKENS, latents=change(given))


@pytest.mark.parametrize("code", [-1, 10, -2147483648])
@pytest.mark.parametrize("kind", ["discrete", "vector", "gumbel"])
def test_codes_that_the_model_has_not_are_refused(kind, code, tiny_model):
    model = tiny_model(kind)
    codes = some_latents(model)
    assert call(model, TOKENS, latents=torch.full_like(codes, model.config.latent_mask_code)).logits is not None
    codes[1, 2] = code
    with pytest.raises(ValueError, match=rf"hold codes from .*from 0 to {model.config.codebook_size - 1}, and"):
        call(model, TOKENS, latents=codes)


@pytest.mark.parametrize("kind", KINDS)
def test_on_an_accelerator_no_value_is_looked_at(kind, tiny_model):
    with torch.device("meta"):  # it has no values, and stands for a device that somebody would have to wait for
        model = tiny_model(kind).to("meta")
        times = torch.ones(2)
        output = model(torch.ones(2, 12, dtype=torch.int64), some_latents(model), times, times)
    assert output.logits.shape == (2, 12, 11)


def test_what_fits_is_answered(tiny_model):
    model = tiny_model("discrete")
    mask = torch.ones(2, 12, dtype=torch.bool)
    assert call(model, some_tokens(), attention_mask=mask).logits.shape == (2, 12, 11)


def test_embeddings_have_the_size_of_the_models_states(tiny_model):
    model = tiny_model("none")
    for wrong in ((2, 12), (0, 12, 32)):
        with pytest.raises(ValueError, match=r"`inputs_embeds` have shape .*; give \(batch, length, hidden_size\)"):
            model(inputs_embeds=torch.ones(wrong))
    assert model(inputs_embeds=torch.ones(2, 12, 32)).logits.shape == (2, 12, 11)


TIMES_THAT_ARE_NONE = {
    "a number": (0.5, r"is 0.5; give a tensor of floating-point numbers"),
    "whole": (torch.ones(2, dtype=torch.long), "is a tensor of int64"),
    "too many": (torch.ones(3), r"has shape \(3,\) for a batch of 2; give \(2,\), or one time for all"),
    "of each token": (torch.ones(2, 12), r"has shape \(2, 12\)"),
    "beyond noise": (torch.tensor([0.5, 1.5]), "holds 1.5; give times from 0"),
    "nan": (torch.tensor([0.5, torch.nan]), "holds nan"),
}


@pytest.mark.parametrize("case", TIMES_THAT_ARE_NONE)
@pytest.mark.parametrize("name", ["token_timesteps", "latent_timesteps"])
def test_times_that_are_none_are_refused(name, case, tiny_model):
    model = tiny_model("discrete", token_time_conditioning=True)
    given, message = TIMES_THAT_ARE_NONE[case]
    times = {"token_timesteps": torch.ones(2), "latent_timesteps": torch.ones(2), name: given}
    with pytest.raises(ValueError, match=f"`{name}` {message}"):
        model(TOKENS, some_latents(model), **times)


@pytest.mark.parametrize("given", [TOKENS.float(), TOKENS > 3, TOKENS.tolist()], ids=["floats", "booleans", "lists"])
def test_the_bound_is_of_ids(given, tiny_model):
    with pytest.raises(ValueError, match=r"`input_ids` is a .*; give a tensor of token ids"):
        tiny_model("discrete").nelbo(given)
    with pytest.raises(ValueError, match=r"`labels` is a .*; give a tensor of token ids"):
        tiny_model("discrete").nelbo(TOKENS, labels=given)
