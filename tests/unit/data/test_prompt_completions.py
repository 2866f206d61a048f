"""Prompts and completions become examples in which only the completion is noised and scored."""

from __future__ import annotations

import pytest
from datasets import Dataset, DatasetDict, IterableDataset, IterableDatasetDict
from helpers.corpora import characters
from hypothesis import given, settings
from hypothesis import strategies as st

from ladd_hf.data import LaddCollator, prompt_completions, text_layout
from ladd_hf.data.encoding import TextEncoder
from ladd_hf.data.prompt_completions import _Examples, logger
from ladd_hf.models.text_frame import TextFrame

FRAMED = characters("bos", "eos", "pad", "mask")
PLAIN = characters("pad", "mask")
BOS, EOS = FRAMED.bos_token_id, FRAMED.eos_token_id
ENCODER, COLUMNS = TextEncoder(PLAIN), ("prompt", "completion")
PAIRS = {"id": [1, 2, 3], "prompt": ["a b ", "", "abc"], "completion": ["c", "abcd", "de"]}


def rows_of(columns):
    return [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]


def ids(text):
    return PLAIN(text)["input_ids"]


def examples_of(made):
    return [([*map(int, row["input_ids"])], [*map(int, row["labels"])]) for row in made]


def expected(prompt, completion, start=(BOS,), end=(EOS,), fill=()):
    context = [*start, *prompt]
    scored = [*completion, *end, *fill]
    return [*context, *scored], [-100] * len(context) + scored


WHOLE = [expected(ids(p), ids(c)) for p, c in zip(PAIRS["prompt"], PAIRS["completion"], strict=True)]


@pytest.mark.parametrize("as_ids", [False, True])
@pytest.mark.parametrize("kind", ["disk", "stream", "unnamed stream", "processes"])
def test_the_prompt_is_context_and_the_completion_with_its_end_is_scored(as_ids, kind):
    columns = dict(PAIRS)
    if as_ids:  # as tokenizers give them, with their special tokens or without
        columns["prompt"] = [[BOS, *ids(text)] if text else [] for text in PAIRS["prompt"]]
        columns["completion"] = [[*ids(text), EOS] if len(text) > 1 else ids(text) for text in PAIRS["completion"]]
    data = Dataset.from_dict(columns)
    if kind == "stream":
        data = data.to_iterable_dataset()
    elif kind == "unnamed stream":
        data = IterableDataset.from_generator(lambda: iter(Dataset.from_dict(columns)))
    made = prompt_completions(data, FRAMED, 12, num_proc=2 if kind == "processes" else None)
    assert examples_of(made) == WHOLE
    assert text_layout(made)["text_frame"]["start"] == [BOS] and text_layout(made)["text_frame"]["end"] == [EOS]
    assert text_layout(made)["text_lengths"] == {"6": 1, "7": 2}


def test_a_batch_of_them_is_padded_where_nothing_is_scored():
    batch = LaddCollator(FRAMED.pad_token_id)(list(prompt_completions(Dataset.from_dict(PAIRS), FRAMED, 12)))
    assert batch["labels"][1].tolist() == [-100, *ids("abcd"), EOS, -100]
    assert batch["attention_mask"].tolist() == [[1] * 7, [1] * 6 + [0], [1] * 7]
    with pytest.raises(ValueError, match="and prompts with completions by `prompt_completions`"):
        LaddCollator(0)(list(Dataset.from_dict(PAIRS)))


@settings(max_examples=200, deadline=None)
@given(
    prompt=st.lists(st.integers(0, 5), max_size=9),
    completion=st.lists(st.integers(0, 5), max_size=9),
    length=st.integers(3, 12),
    framed=st.booleans(),
)
def test_what_is_too_long_is_shortened_from_its_far_end_or_left_out(prompt, completion, length, framed):
    start, end = ((BOS,), (EOS,)) if framed else ((), ())
    frame, room = TextFrame("pad", start, end), length - len(start) - len(end)
    whole, cut = (_Examples(ENCODER, frame, length, COLUMNS, truncate, 1) for truncate in (False, True))
    batch = {"prompt": [prompt], "completion": [completion]}
    fits, scored = len(prompt) + len(completion) <= room, bool(completion or end)
    assert examples_of(rows_of(whole(batch))) == [expected(prompt, completion, start, end)] * (fits and scored)
    if len(completion) > room:  # it goes on, so that nothing ends there
        kept = [expected([], completion[: room + len(end)], start, ())]
    else:
        kept = [expected(prompt[max(0, len(prompt) + len(completion) - room) :], completion, start, end)] * scored
    assert examples_of(rows_of(cut(batch))) == kept


def test_what_is_left_out_is_counted(monkeypatch):
    told = []
    monkeypatch.setattr(logger, "warning", told.append)
    data = Dataset.from_dict(PAIRS)
    assert len(prompt_completions(data, FRAMED, 6)) == 1 and "2 of 3 examples are left out" in told[0]
    assert len(prompt_completions(data, FRAMED, 12, min_tokens=7)) == 2 and "fewer than 7 (`min_tokens`)" in told[1]
    with pytest.raises(ValueError, match=r"3 of 3 examples are left out, .*: give others, or another `length`"):
        prompt_completions(data, FRAMED, 4)


def test_filled_examples_end_in_tokens_that_are_scored():
    made = prompt_completions(Dataset.from_dict(PAIRS), FRAMED, 9, fill="eos")
    rows = zip(PAIRS["prompt"], PAIRS["completion"], strict=True)
    assert examples_of(made) == [expected(ids(p), ids(c), fill=[EOS] * (7 - len(p + c))) for p, c in rows]
    assert text_layout(made)["text_frame"]["fill"] == EOS


def test_without_special_tokens_there_are_none():
    for tokenizer, options in ((PLAIN, {}), (FRAMED, {"special_tokens": False})):
        made = prompt_completions(Dataset.from_dict(PAIRS), tokenizer, 12, **options)
        assert examples_of(made)[0] == expected(ids("a b "), ids("c"), (), ())


def test_splits_and_columns_of_other_names_are_taken():
    data = Dataset.from_dict({"question": ["a"], "answer": ["b"]})
    for kind, split in ((DatasetDict, data), (IterableDatasetDict, data.to_iterable_dataset())):
        names = {"prompt_column": "question", "completion_column": "answer"}
        made = prompt_completions(kind({"train": split, "test": split}), FRAMED, 9, **names)
        assert type(made) is kind
        assert [examples_of(one) for one in made.values()] == [[expected(ids("a"), ids("b"))]] * 2


@pytest.mark.parametrize(
    ("columns", "options", "message"),
    [
        ({"text": ["a"]}, {}, "has no column 'prompt', but 'text': name the ones with prompts and completions"),
        (
            {"prompt": [[{"role": "user"}]], "completion": ["a"]},
            {},
            r"'prompt' holds a list that begins with a dict, .* one text \(`tokenizer.apply_chat_template`\)",
        ),
        ({"prompt": ["a", None], "completion": ["a", "b"]}, {}, "'prompt' holds None, but a text or a list"),
        ({"prompt": ["a"], "completion": [[0.5]]}, {}, "'completion' holds a list that begins with 0.5, but a text"),
        (PAIRS, {"length": 2}, "`length` is 2, of which 2 are special tokens"),
        (PAIRS, {"length": 0}, "`length` is 0; give a whole number"),
        (PAIRS, {"fill": "pad"}, "`fill` is 'pad', but one of 'padding', 'eos' is accepted"),
        (PAIRS, {"tokenizer": "bert"}, "`tokenizer` is 'bert'; give a tokenizer"),
        (PAIRS, {"tokenizer": PLAIN, "fill": "eos"}, "The tokenizer has no EOS token"),
    ],
)
def test_what_is_no_pair_of_texts_is_refused(columns, options, message):
    options = {"tokenizer": FRAMED, "length": 12, **options}
    with pytest.raises(ValueError, match=message):
        prompt_completions(Dataset.from_dict(columns), **options)


def test_special_tokens_of_a_tokenizer_stand_at_the_ends_alone():
    framed = {"prompt": [[BOS, *ids("a "), EOS]], "completion": [[BOS, *ids("bc"), EOS]]}
    assert examples_of(prompt_completions(Dataset.from_dict(framed), FRAMED, 12)) == [expected(ids("a "), ids("bc"))]


def test_no_rows_at_all_are_refused():
    with pytest.raises(ValueError, match="The data set has no rows"):
        prompt_completions(Dataset.from_dict({"prompt": [], "completion": []}), FRAMED, 12)


def test_what_is_no_data_set_is_refused():
    with pytest.raises(ValueError, match="`dataset` is a list; give a Dataset"):
        prompt_completions([PAIRS], FRAMED, 12)


def test_examples_are_made_once(tmp_path, monkeypatch):
    Dataset.from_dict(PAIRS).save_to_disk(tmp_path)
    data = Dataset.load_from_disk(str(tmp_path))
    first = prompt_completions(data, FRAMED, 12)
    assert prompt_completions(data, FRAMED, 11)._fingerprint != first._fingerprint
    monkeypatch.setattr(_Examples, "__call__", None)
    assert prompt_completions(data, FRAMED, 12)._fingerprint == first._fingerprint
