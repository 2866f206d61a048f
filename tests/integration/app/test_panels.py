"""What the panels show is what the pipeline writes."""

from __future__ import annotations

import json
import re
import shlex
import time
from html import unescape
from itertools import pairwise
from types import SimpleNamespace

import pytest
import torch
from helpers.pages import TEXT, letters, tiny_models
from tokenizers import Tokenizer
from tokenizers.decoders import WordPiece as WordPieceDecoder
from tokenizers.models import WordPiece
from tokenizers.pre_tokenizers import Whitespace
from transformers import PreTrainedTokenizerFast
from typer.testing import CliRunner

from ladd_command.app import app
from ladd_hf import LaddJointScheduler, LaddSequentialScheduler, RowGenerator
from ladd_hf.app import Models
from ladd_hf.app.equal_cost import EVALUATIONS, OPERATIONS, steps_beside
from ladd_hf.app.example_texts import example_texts
from ladd_hf.app.exchange import drawn_code, exchanged, text_codes
from ladd_hf.app.generation import side_by_side, views
from ladd_hf.app.infilling import filled, marked
from ladd_hf.app.live import states
from ladd_hf.app.mixing import mixed, varied
from ladd_hf.app.reading import shown_text
from ladd_hf.app.settings import SAVED, SCHEDULES, Settings, command_of
from ladd_hf.metrics.cost import sampling_cost

KINDS = ["none", "continuous", "vector", "discrete"]


def row(seed=0, count=1):
    return RowGenerator.from_seed(seed, torch.arange(count))


def seen(html):
    return unescape(re.sub("<[^>]+>", "", html))


@pytest.mark.parametrize("kind", KINDS)
def test_every_step_has_a_state_and_the_last_is_what_the_call_returns(kind, stirred_model):
    pipe = letters(stirred_model(kind))
    found = list(states(pipe, num_steps=5, generator=row()))
    assert [one.num_steps for one in found] == [1, 2, 3, 4, 5]
    expected = pipe(num_steps=5, generator=row())
    assert torch.equal(found[-1].tokens[-1], expected.sequences)
    for earlier, later in pairwise(found):
        assert torch.equal(earlier.tokens, later.tokens[:-1])


def test_a_run_that_nobody_looks_at_any_more_ends(stirred_model):
    pipe, made = letters(stirred_model("none")), []
    pipe.model.register_forward_hook(lambda *_: made.append(1))
    run = states(pipe, num_steps=10_000, generator=row())
    next(run)
    run.close()
    deadline = time.monotonic() + 10
    while pipe._runs.concerned and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not pipe._runs.concerned and len(made) < 10_000


def test_errors_of_a_run_reach_who_waits_for_it(stirred_model):
    with pytest.raises(ValueError, match="num_steps"):
        list(states(letters(stirred_model("none")), num_steps=0))


@pytest.mark.parametrize(
    ("kind", "prompt", "schedule"),
    [*(("vector", "ab", schedule) for schedule in SCHEDULES), ("vector", "", SAVED), ("none", "ab", SAVED)],
)
def test_the_shown_command_writes_the_shown_text(kind, prompt, schedule, stirred_model, tmp_path):
    pipe = letters(stirred_model(kind))
    pipe.save_pretrained(tmp_path / "own")
    models = Models(pipe, str(tmp_path / "own"), cpu=True)
    settings = Settings(prompt, 6, schedule, 0.8, 0.7, 1.5, 11, seed=5)
    *_, (last, _) = side_by_side(models, settings, None)
    words = shlex.split(command_of(models, settings))
    result = CliRunner().invoke(app, [words[1], "--json", *words[2:]])
    assert result.exit_code == 0, result.output
    assert seen(last.text) == json.loads(result.stdout)["samples"][0]["text"]


def test_tokens_are_shown_with_the_spaces_between_them():
    words = {"[PAD]": 0, "[UNK]": 1, "[MASK]": 2, "a": 3, "great": 4, "##ly": 5}
    plain = Tokenizer(WordPiece(words, unk_token="[UNK]"))
    plain.pre_tokenizer, plain.decoder = Whitespace(), WordPieceDecoder()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=plain, mask_token="[MASK]", pad_token="[PAD]")
    assert shown_text(SimpleNamespace(tokenizer=tokenizer), [3, 4, 5, 3]) == ["a", " great", "ly", " a"]


def test_no_command_is_shown_for_ids(stirred_model):
    models = Models(letters(stirred_model("vector"), tokenizer=False), "m")
    assert "no tokenizer" in command_of(models, Settings("3 0 5"))
    assert command_of(models, Settings()) == "ladd generate m --steps 8 --seed 0"


def test_a_run_that_ends_early_has_its_own_points(stirred_model):
    scheduler = LaddJointScheduler(unmasking="first_hitting")
    shown = list(views(letters(stirred_model("none"), scheduler), num_steps=64, length=6, generator=row(0)))
    assert len(shown) == 6 and "step 6 of 6" in shown[-1].title
    assert "ladd-ahead" not in shown[-1].square and "ladd-ahead" in shown[0].square


@pytest.mark.parametrize("cost", [EVALUATIONS, OPERATIONS])
def test_both_models_end_and_the_shorter_run_waits(cost, stirred_model):
    models, settings = tiny_models(stirred_model), Settings(steps=6, seed=1)
    count = steps_beside(models, settings, cost)
    shown = list(side_by_side(models, settings, count))
    assert len(shown) == max(6, count)
    alone = list(views(models.beside, **settings.options(models.beside, count)))[-1]
    assert shown[-1][1] == alone and "step 6 of 6" in shown[-1][0].title
    assert "░" not in seen(shown[-1][0].text) + seen(alone.text)


def test_at_equal_operations_one_evaluation_more_or_less_is_further_off(stirred_model):
    models, settings = tiny_models(stirred_model), Settings(steps=7)
    spent = sampling_cost(models.pipeline, 7).flops
    count = steps_beside(models, settings, OPERATIONS)
    off = {number: abs(sampling_cost(models.beside, number).flops - spent) for number in (count - 1, count, count + 1)}
    assert min(off, key=off.get) == count > 7  # the model with latents is the costlier one


def test_codes_come_with_the_tokens_they_stand_for(stirred_model):
    pipe = letters(stirred_model("vector"))
    found = text_codes(pipe, TEXT)
    assert [one.code for one in found] == pipe.encode(TEXT)[0].tolist()
    assert [one.text for one in found] == ["abc", "def", "ghi", "abc"]


def test_an_exchange_writes_from_the_codes_with_one_replaced(stirred_model):
    pipe = letters(stirred_model("vector"), LaddSequentialScheduler())
    codes = pipe.encode(TEXT)
    code = (int(codes[0, 2]) + 1) % 8
    found = exchanged(pipe, TEXT, 2, code, seed=3, num_steps=4)
    before = pipe(latents=codes, length=12, num_steps=4, generator=row(3)).texts[0]
    codes[0, 2] = code
    after = pipe(latents=codes, length=12, num_steps=4, generator=row(3)).texts[0]
    assert "".join(found.before) == before and "".join(found.after) == after
    assert found.changed == [one != two for one, two in zip(before, after, strict=True)]
    assert [number for number, here in enumerate(found.here) if here] == [6, 7, 8]


def test_the_same_code_changes_nothing(stirred_model):
    pipe = letters(stirred_model("vector"))
    found = exchanged(pipe, TEXT, 1, text_codes(pipe, TEXT)[1].code, num_steps=4)
    assert not any(found.changed)


def test_drawn_codes_are_in_the_codebook(stirred_model):
    pipe = letters(stirred_model("vector"))
    assert {drawn_code(pipe, seed) for seed in range(200)} == set(range(8))


@pytest.mark.parametrize(
    ("place", "code", "said"), [(4, 0, "from 0 to 3"), (-1, 0, "from 0 to 3"), (0, 8, "from 0 to 7")]
)
def test_a_place_or_code_that_there_is_not_is_refused(place, code, said, stirred_model):
    with pytest.raises(ValueError, match=said):
        exchanged(letters(stirred_model("vector")), TEXT, place, code, num_steps=2)


def test_vectors_are_no_codes(stirred_model):
    with pytest.raises(ValueError, match="no codes"):
        text_codes(letters(stirred_model("continuous")), TEXT)


@pytest.mark.parametrize("kind", ["continuous", "vector"])
def test_a_mixture_has_the_latents_and_the_length_of_interpolate(kind, stirred_model):
    pipe = letters(stirred_model(kind))
    texts = TEXT, "bbbbcccc"
    torch.manual_seed(0)  # continuous latents are drawn
    expected = pipe.interpolate(*texts, batch_size=5, num_steps=4, generator=row(0, 5))
    for number, weight in enumerate((0, 0.25, 0.5, 0.75, 1)):
        torch.manual_seed(0)
        found = mixed(pipe, *texts, weight, num_steps=4)
        torch.testing.assert_close(found.latents, expected.latents[number])
        assert len(found.text) == int(expected.lengths[number])
        assert (found.of_second is None) == (kind == "continuous")


def test_every_code_of_a_mixture_is_of_the_text_it_says(stirred_model):
    pipe = letters(stirred_model("vector"))
    ends = [pipe.encode(text)[0].tolist() for text in (TEXT, TEXT[::-1])]
    for weight in (0.0, 0.3, 0.6, 1.0):
        found = mixed(pipe, TEXT, TEXT[::-1], weight, num_steps=2)
        assert found.latents.tolist() == [ends[of][at] for at, of in enumerate(found.of_second)]
        if weight in (0, 1):
            assert found.latents.tolist() == ends[int(weight)] and any(found.of_second) == bool(weight)


def test_variations_are_those_of_the_pipeline(stirred_model):
    pipe = letters(stirred_model("vector"))
    expected = pipe.variations(TEXT, 0.5, 3, num_steps=4, generator=row(2, 3)).texts
    assert varied(pipe, TEXT, 0.5, 3, seed=2, num_steps=4) == expected


def test_what_is_selected_is_masked_by_whole_tokens(stirred_model):
    pipe = letters(stirred_model("none"))
    assert marked(pipe, "abcdef", 1, 3) == "a[MASK][MASK]def"
    assert marked(pipe, "a[MASK]def", 3, 8) == "a[MASK][MASK]ef"
    numbers = letters(stirred_model("none"), tokenizer=False)
    assert marked(numbers, "3 1 4 5", 3, 5) == "3 1 [MASK] 5" == marked(numbers, "3 1 4 5", 4, 5)
    for start, end in ((2, 2), (7, 9)):
        with pytest.raises(ValueError, match="select"):
            marked(pipe, "abcdef", start, end)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("tokenizer", [True, False])
def test_infilling_writes_the_masks_and_nothing_else(kind, tokenizer, stirred_model):
    pipe = letters(stirred_model(kind), tokenizer=tokenizer)
    text = "ab[MASK][MASK]efgh" if tokenizer else "1 2 [MASK] [MASK] 5 6 7 8"
    *_, last = filled(pipe, text, Settings(steps=4))
    symbols = re.sub(r"\s", "", seen(last.text))
    if tokenizer:
        assert re.fullmatch("ab[a-i]{2}efgh", symbols)
    else:
        assert re.fullmatch(r"12\d\d5678", symbols)
    assert 1 <= len(set(re.findall(r'title="step (\d)"', last.text))) <= 2
    assert len(re.findall(r"ladd-step", last.text)) == 2


def test_a_text_without_masks_is_refused(stirred_model):
    with pytest.raises(ValueError, match=r"\[MASK\] in place of each"):
        list(filled(letters(stirred_model("none")), "abc", Settings()))


@pytest.mark.parametrize(("text", "said"), [(" ", "empty"), ("3 x", "'x'")])
def test_what_a_model_without_tokenizer_cannot_read_is_named(text, said, stirred_model):
    with pytest.raises(ValueError, match=said):
        text_codes(letters(stirred_model("vector"), tokenizer=False), text)


@pytest.mark.parametrize("tokenizer", [True, False])
def test_the_panels_begin_with_texts_that_the_model_can_read(tokenizer, stirred_model):
    pipe = letters(stirred_model("vector"), tokenizer=tokenizer)
    for text in example_texts(pipe):
        assert len(text_codes(pipe, text)) == 4
