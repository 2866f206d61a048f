"""A trajectory tells the step of every token, and its frames are laid out alike."""

from __future__ import annotations

import pytest
import torch
from helpers.sampling import MASK, tiny_tokenizer

from ladd_hf.pictures import Trajectory
from ladd_hf.pictures.frames import GAP, Piece, frames, wrapped
from ladd_hf.pictures.step_colours import step_colour
from ladd_hf.pictures.trajectory import GIVEN, MASKED, steps_of

M = MASK
# a prompt, a token of step 1, one of step 3, one of step 1 that step 2 masks and step 3 writes again, the same one
STATES = torch.tensor([[5, M, M, M], [5, 2, M, 4], [5, 2, M, M], [5, 2, 1, 4]])
TIMES = ((1.0, 1.0), (0.6, 1.0), (0.3, 0.5), (0.0, 0.0))


def trajectory(latents=None, code_mask=None, states=STATES, **changes):
    options = {
        "tokens": states[:, None],
        "times": TIMES,
        "latents": latents,
        "lengths": torch.tensor([states.shape[1]]),
        "mask_token_id": M,
        "code_mask_id": code_mask,
    }
    return Trajectory(**{**options, **changes})


def texts(frame):
    return [piece.text for piece in frame.tokens]


def test_every_token_has_the_step_that_wrote_it_last():
    assert steps_of(STATES, M).tolist() == [
        [GIVEN, MASKED, MASKED, MASKED],
        [GIVEN, 1, MASKED, 1],
        [GIVEN, 1, MASKED, MASKED],
        [GIVEN, 1, 3, 3],
    ]
    assert trajectory().written.tolist() == [[GIVEN, 1, 3, 3]]


def test_codes_are_masked_before_the_first_step_unless_they_are_given():
    codes = torch.tensor([[[8, 8]], [[3, 8]], [[3, 1]]])  # 8 is the mask
    generated = trajectory(codes, 8)
    assert generated.codes[:, 0].tolist() == [[8, 8], [8, 8], [3, 8], [3, 1]]
    assert generated.code_steps[-1].tolist() == [[2, 3]]
    given = trajectory(torch.tensor([[[3, 8]], [[3, 1]], [[3, 1]]]), 8, times=((1.0, 0.5), *TIMES[1:]))
    assert given.code_steps[-1].tolist() == [[GIVEN, 2]]
    assert not any(piece.new for piece in frames(given)[0].latents)


def test_frames_show_texts_and_masks_of_the_final_length():
    shown = frames(trajectory(), tiny_tokenizer())
    assert [texts(one) for one in shown] == [list("e░░░"), list("eb░d"), list("eb░░"), list("ebad")]
    assert not any(piece.new for piece in shown[0].tokens)  # not even a prompt
    assert [piece.new for piece in shown[1].tokens] == [False, True, False, True]
    assert [piece.new for piece in shown[3].tokens] == [False, False, True, True]
    assert [one.title for one in shown][1] == "step 1 of 3   t_x 0.600"


@pytest.mark.parametrize(("ids", "cells"), [([5, 2], ["5", "░"]), ([5, 13], [" 5 ", "░░░"])])
def test_without_a_tokenizer_ids_are_shown_apart_unless_they_are_digits(ids, cells):
    states = torch.tensor([[ids[0], M], [ids[0], M], [ids[0], M], ids])
    assert texts(frames(trajectory(states=states))[0]) == cells


class Characters:
    """A tokenizer in which 1 is a line break, 2 a tab, 3 joins what follows it, and others are letters."""

    def decode(self, ids):
        return "".join({1: "\n", 2: "\t", M: "[M]"}.get(one, chr(96 + one)) for one in ids).replace("cc", "C")


def test_a_text_keeps_its_line_breaks_in_every_frame():
    states = torch.tensor([[M, M, M]] * 3 + [[5, 1, 2]])
    shown = frames(trajectory(states=states), Characters())
    assert texts(shown[-1]) == ["e", "↵\n", " "] and texts(shown[0]) == ["░", "░\n", "░"]
    layouts = {tuple(sum(len(one.text) for one in line) for line in wrapped(frame.tokens, 9)) for frame in shown}
    assert layouts == {(2, 1)}


def test_texts_are_what_tokens_add_to_those_before():
    tokenizer = tiny_tokenizer()
    states = torch.tensor([[M] * 6] * 3 + [[1, 2, 3, 9, 8, 7]])
    shown = frames(trajectory(states=states), tokenizer)
    assert "".join(texts(shown[-1])) == tokenizer.decode(states[-1].tolist())
    changed = torch.tensor([[M, M]] * 3 + [[3, 3]])  # the second changes the first: shown by itself
    assert texts(frames(trajectory(states=changed), Characters())[-1]) == ["c", "c"]


def test_what_follows_the_end_of_a_text_is_not_shown():
    shown = frames(trajectory(lengths=torch.tensor([2])), tiny_tokenizer())
    assert texts(shown[-1]) == ["e", "b"]


def test_codes_and_the_time_of_vectors_are_shown_above():
    codes = torch.tensor([[[12, 12]], [[3, 12]], [[3, 11]]])
    shown = frames(trajectory(codes, 12))
    assert [[piece.text for piece in one.latents] for one in shown[1:]] == [
        ["░░", " ", "░░"],
        [" 3", " ", "░░"],
        [" 3", " ", "11"],
    ]
    assert [piece.new for piece in shown[3].latents] == [False, False, True]
    bars = ["".join(piece.text for piece in one.latents) for one in frames(trajectory(torch.zeros(3, 1, 2, 3)))]
    assert [bar.count("█") for bar in bars] == [0, 0, 12, 24] and {len(bar) for bar in bars} == {24}
    assert shown[0].title.endswith("t_y 1.000")


def test_lines_are_as_wide_as_asked_and_lose_nothing():
    pieces = [Piece("abc", 1), Piece("defgh", 2), Piece("i", 3), Piece("jklmnopqrstuvwxyz", 4)]
    lines = wrapped(pieces, 6)
    assert all(sum(len(piece.text) for piece in line) <= 6 for line in lines)
    joined = [piece for line in lines for piece in line]
    for piece in pieces:
        assert "".join(part.text for part in joined if part.step == piece.step) == piece.text
    assert [piece.text for piece in lines[1]] == ["defgh", "i"]  # not cut


def test_no_line_of_codes_begins_with_a_gap():
    pieces = [Piece("12", 1), GAP, Piece("34", 1), GAP, Piece("56", 1)]
    assert [[piece.text for piece in line] for line in wrapped(pieces, 5)] == [["12", " ", "34"], ["56"]]


@pytest.mark.parametrize("row", [1, -1, True, "0"])
def test_a_row_that_does_not_exist_is_refused(row):
    with pytest.raises(ValueError, match="give a row of the batch, from 0 to 0"):
        frames(trajectory(), row=row)


def test_steps_have_colours_that_differ_behind_black_letters():
    for number in (1, 2, 40):
        colours = [step_colour(step, number) for step in range(1, number + 1)]
        assert len(set(colours)) == number
        for red, green, blue in colours:  # contrast of black letters as the WCAG define it: 7 is its highest level
            linear = [
                (one / 255 / 12.92 if one <= 10 else ((one / 255 + 0.055) / 1.055) ** 2.4) for one in (red, green, blue)
            ]
            assert (0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2] + 0.05) / 0.05 > 7
