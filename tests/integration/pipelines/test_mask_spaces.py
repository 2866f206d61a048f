"""A space beside a mask token in a prompt stays in the text, whatever the tokenizer's mask token does."""

from __future__ import annotations

import pytest
from helpers.corpora import byte_pairs
from helpers.sampling import seeded
from tokenizers import AddedToken
from transformers import AutoTokenizer, ByT5Tokenizer

from ladd_hf import LaddPipeline
from ladd_hf.data import byte_level_bpe, character_tokenizer, with_mask_token

TEXTS = ["the cat sat on the mat", "a dog"]


def stripping(tokenizer, **sides):
    """The tokenizer with a mask token that takes in spaces, as those of RoBERTa and ALBERT do."""
    tokenizer.add_special_tokens({"mask_token": AddedToken("<mask>", special=True, **sides)})
    return with_mask_token(tokenizer)


TOKENIZERS = {
    "characters": character_tokenizer,
    "byte-level BPE": lambda: byte_level_bpe(TEXTS, 280),
    "left": lambda: stripping(byte_pairs(TEXTS), lstrip=True),
    "right": lambda: stripping(byte_pairs(TEXTS), rstrip=True),
    "both": lambda: stripping(byte_pairs(TEXTS), lstrip=True, rstrip=True),
    "slow": lambda: stripping(ByT5Tokenizer(extra_ids=0), lstrip=True),
}


@pytest.mark.parametrize("name", TOKENIZERS)
def test_spaces_beside_a_mask_are_in_the_text_that_is_written(stirred_model, tmp_path, name):
    tokenizer = TOKENIZERS[name]()
    sizes = {"vocab_size": len(tokenizer), "pad_token_id": tokenizer.pad_token_id, "max_position_embeddings": 40}
    model = stirred_model("none", mask_token_id=tokenizer.mask_token_id, **sizes)
    pipe = LaddPipeline(model, tokenizer=tokenizer)
    pipe.set_progress_bar_config(disable=True)
    letter = tokenizer("x", add_special_tokens=False).input_ids
    others = [one for one in range(len(tokenizer)) if one not in letter]
    mask = tokenizer.mask_token
    for prompt in (f"the {mask} cat", f"the  {mask}{mask} cat", f"{mask} cat", f"the {mask}"):
        (text,) = pipe(prompt, num_steps=4, length="prompt", suppress_tokens=others, generator=seeded()).texts
        expected = prompt.replace(mask, "x")
        assert text == (expected.replace("  ", " ") if name == "characters" else expected)
    tokenizer.save_pretrained(tmp_path)
    before, after = tokenizer(f"the {mask} cat").input_ids, AutoTokenizer.from_pretrained(tmp_path)
    assert after(f"the {mask} cat").input_ids == before, "the tokenizer itself is left as it is"
