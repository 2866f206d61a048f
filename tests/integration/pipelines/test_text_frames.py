"""A model reads texts as the examples of its training had them, with what begins and ends those."""

from __future__ import annotations

import pytest
import torch
from datasets import Dataset
from helpers.corpora import byte_pairs
from helpers.sampling import seeded

from ladd_hf import LaddConfig, LaddForDiffusionLM, LaddPipeline, TextFrame
from ladd_hf.data import LaddCollator, text_layout, token_blocks

LENGTH = 14
TEXTS = ["the cat", "a dog", "so we do all sit"]
LAYOUTS = {
    "pack": {"mode": "pack"},
    "wrap": {"mode": "wrap"},
    "pad": {"mode": "pad"},
    "filled": {"mode": "pad", "fill": "eos"},
    "bare": {"mode": "pad", "special_tokens": False},
}


@pytest.fixture(scope="module")
def bpe():
    return byte_pairs()


@pytest.fixture
def trained_on(stirred_model, bpe):
    """`trained_on(blocks, **overrides)`: a pipeline whose model keeps the layout of these blocks."""

    def make(blocks, kind="discrete", **overrides):
        ids = {"mask_token_id": bpe.mask_token_id, "pad_token_id": bpe.pad_token_id}
        ends = {"bos_token_id": bpe.bos_token_id, "eos_token_id": bpe.eos_token_id}
        sizes = {"vocab_size": len(bpe), "max_position_embeddings": LENGTH, "latent_length": 2}
        if kind == "discrete":
            sizes |= {"quantizer_levels": [7, 7], "encoder_readout": "chunk"}
        model = stirred_model(kind, **{**sizes, **ids, **ends, **text_layout(blocks), **overrides})
        pipe = LaddPipeline(model, tokenizer=bpe)
        pipe.set_progress_bar_config(disable=True)
        return pipe

    return make


def blocks_of_each(texts, bpe, options):
    """A block of each text: without its separator, where documents are packed."""
    options = options if options["mode"] == "pad" else {**options, "separator": ""}
    return [token_blocks(Dataset.from_dict({"text": [text]}), bpe, LENGTH, **options) for text in texts]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_text_has_the_codes_of_its_block(trained_on, bpe, layout):
    blocks = blocks_of_each(TEXTS, bpe, LAYOUTS[layout])
    pipe = trained_on(blocks[0])
    for text, block in zip(TEXTS, blocks, strict=True):
        batch = LaddCollator()([block[0]])
        codes = pipe.model.encode_latents(batch["input_ids"], batch.get("attention_mask"))
        assert torch.equal(pipe.encode(text), codes)
        assert torch.equal(pipe.encode(bpe.decode(block[0]["input_ids"], skip_special_tokens=True)), codes)
    assert torch.equal(pipe.encode(TEXTS), torch.cat([pipe.encode(text) for text in TEXTS]))


@pytest.mark.parametrize("layout", ["wrap", "pad", "filled"])
def test_without_its_frame_a_text_would_have_other_codes(trained_on, bpe, layout):
    pipe = trained_on(blocks_of_each(TEXTS, bpe, LAYOUTS[layout])[0])
    bare = torch.cat([pipe.encode(bpe(text, add_special_tokens=False).input_ids) for text in TEXTS])
    assert (pipe.encode(TEXTS) != bare).any()


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_prompt_begins_as_the_blocks_do_and_goes_on(trained_on, bpe, layout):
    begins = [] if layout in ("pack", "bare") else [bpe.bos_token_id]
    pipe = trained_on(blocks_of_each(TEXTS, bpe, LAYOUTS[layout])[0])
    ids = [*begins, *bpe("the cat", add_special_tokens=False).input_ids]
    texts, by_ids = (pipe(prompt, num_steps=4, length=LENGTH, generator=seeded()) for prompt in ("the cat", ids))
    assert texts.sequences[0, : len(ids)].tolist() == ids
    assert torch.equal(texts.sequences, by_ids.sequences)
    assert texts.texts[0].startswith("the cat")


@pytest.mark.parametrize("layout", ["wrap", "pad", "filled"])
def test_a_text_whose_gaps_are_filled_in_is_a_whole_one(trained_on, bpe, layout):
    pipe = trained_on(blocks_of_each(TEXTS, bpe, LAYOUTS[layout])[0])
    result = pipe("the<mask>cat", num_steps=4, length="prompt", generator=seeded())
    frame = TextFrame.of(pipe.model.config)
    ids = frame.whole(bpe("the<mask>cat", add_special_tokens=False).input_ids)
    assert ids[0] == bpe.bos_token_id and ids[-1] == bpe.eos_token_id
    known = torch.tensor(ids) != bpe.mask_token_id
    assert torch.equal(result.sequences[0][known], torch.tensor(ids)[known]) and int((~known).sum()) == 1
    assert result.texts[0].startswith("the") and result.texts[0].endswith("cat")


def test_variations_and_interpolations_start_from_framed_texts(trained_on, bpe):
    pipe = trained_on(blocks_of_each(TEXTS, bpe, LAYOUTS["pad"])[0])
    first, second = pipe.encode(TEXTS[0]), pipe.encode(TEXTS[2])
    between = pipe.interpolate(TEXTS[0], TEXTS[2], batch_size=3, num_steps=4)
    assert torch.equal(between.latents[[0, -1]], torch.cat([first, second]))
    long, short = (len(bpe(text, add_special_tokens=False).input_ids) + 2 for text in (TEXTS[2], TEXTS[0]))
    assert between.lengths[[0, -1]].tolist() == [short, long]
    varied = pipe.variations(TEXTS[0], strength=0.0, batch_size=2, num_steps=4)
    assert torch.equal(varied.latents, first.expand(2, -1)) and varied.lengths.tolist() == [short, short]


def test_ids_stay_as_they_are(trained_on, bpe):
    pipe = trained_on(blocks_of_each(TEXTS, bpe, LAYOUTS["wrap"])[0])
    given = pipe([[40, 41, 42]], num_steps=4, generator=seeded()).sequences
    assert given[0, :3].tolist() == [40, 41, 42]
    assert torch.equal(pipe.encode(bpe("a dog")), pipe.encode([bpe("a dog").input_ids])), "as a tokenizer gives them"


def test_the_frame_travels_with_a_saved_pipeline(trained_on, bpe, tmp_path):
    pipe = trained_on(blocks_of_each(TEXTS, bpe, LAYOUTS["filled"])[0])
    pipe.save_pretrained(tmp_path)
    again = LaddPipeline.from_pretrained(tmp_path)
    assert TextFrame.of(again.model.config) == TextFrame("pad", (1,), (2,), fill=2, length=LENGTH)
    assert torch.equal(again.encode(TEXTS), pipe.encode(TEXTS))


# --- the frame itself ---


@pytest.mark.parametrize(
    ("frame", "ids", "begun", "whole"),
    [
        (TextFrame(), [5, 6], [5, 6], [5, 6]),
        (TextFrame("wrap", (1,), (2,)), [5, 6], [1, 5, 6], [1, 5, 6, 2]),
        (TextFrame("wrap", (1,), (2,)), [1, 5, 6], [1, 5, 6], [1, 5, 6, 2]),
        (TextFrame("wrap", (1,), (2,)), [1, 5, 6, 2], [1, 5, 6, 2], [1, 5, 6, 2]),
        (TextFrame("wrap", (1,), (2,)), [5, 6, 2], [1, 5, 6, 2], [1, 5, 6, 2]),
        (TextFrame("wrap", (2,), (2,)), [2], [2], [2, 2]),
        (TextFrame("wrap", (2,), (2,)), [], [2], [2, 2]),
        (TextFrame("pad", (), (2, 3)), [5, 2, 3], [5, 2, 3], [5, 2, 3]),
        (TextFrame("pad", (1,), (2,), 2, 6), [5], [1, 5], [1, 5, 2, 2, 2, 2]),
        (TextFrame("pad", (1,), (2,), 2, 3), [5, 6, 7], [1, 5, 6, 7], [1, 5, 6, 7, 2]),
    ],
    ids=str,
)
def test_special_tokens_that_are_there_are_not_added_again(frame, ids, begun, whole):
    assert frame.begun(ids) == begun and frame.whole(ids) == whole
    assert frame.begun(begun) == begun and frame.whole(whole) == whole
    assert TextFrame.from_dict(frame.to_dict()) == frame


@pytest.mark.parametrize(
    ("frame", "said"),
    [
        ({"packing": "padded"}, "`text_frame` is .*'padded'"),
        ({"start": [-1]}, "lists of token ids"),
        ({"start": "a"}, "lists of token ids"),
        ({"end": [1.5]}, "lists of token ids"),
        ({"fill": 2}, "both or neither"),
        ({"length": 2}, "both or neither"),
        ({"fill": 2, "length": 13}, "13 tokens, and `max_position_embeddings` is 12"),
        ({"begin": [1]}, r"entries \['begin'\]"),
        ({"start": [11]}, "tokens of the vocabulary of 11"),
        ({"end": [10]}, "not the mask token, 10"),
    ],
    ids=str,
)
def test_what_is_no_frame_is_refused(tiny_config, frame, said):
    with pytest.raises(ValueError, match=said):
        tiny_config("none", text_frame=frame)


def test_a_configuration_without_a_frame_adds_nothing():
    assert TextFrame.of(LaddConfig(vocab_size=8)) == TextFrame()
    assert LaddForDiffusionLM.config_class().text_frame is None
