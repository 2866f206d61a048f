"""HTML and SVG of the page: every symbol is shown as it is, in the colour of its step."""

from __future__ import annotations

import re
from html import unescape
from xml.etree import ElementTree

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ladd_hf.app.code_table import code_table
from ladd_hf.app.coloured import colour_of, coloured, legend
from ladd_hf.app.exchange import Exchange, TextCode
from ladd_hf.app.marked_texts import code_chips, exchanged_texts
from ladd_hf.app.square import square
from ladd_hf.pictures import Trajectory
from ladd_hf.pictures.frames import Piece
from ladd_hf.pictures.trajectory import GIVEN, MASKED

RUN = [(1.0, 1.0), (1.0, 0.5), (1.0, 0.0), (0.5, 0.0), (0.0, 0.0)]
SVG = "{http://www.w3.org/2000/svg}"


def seen(html):
    """What a reader sees of HTML."""
    return unescape(re.sub("<[^>]+>", "", html.replace("<br>", "\n")))


@given(st.lists(st.text(min_size=1), max_size=5))
def test_a_text_is_shown_as_it_is_whatever_it_holds(texts):
    pieces = [Piece(text, step) for step, text in enumerate(texts)]
    assert seen(coloured(pieces, 5)) == "".join(texts)
    chips = code_chips([TextCode(7, text) for text in texts])
    assert len(re.findall("<", chips)) == 4 * len(texts) + 2


def test_only_what_a_step_wrote_has_a_colour_and_what_is_new_a_frame():
    pieces = [Piece("a", GIVEN), Piece("░", MASKED), Piece("b", 1), Piece("c", 2, new=True)]
    given, mask, first, new = re.findall(r"<span.*?</span>", coloured(pieces, 4))
    assert "background" not in given + mask and "ladd-mask" in mask
    assert colour_of(1, 4) in first and colour_of(2, 4) in new
    assert "ladd-new" in new and "ladd-new" not in first


@pytest.mark.parametrize("steps", [1, 3])
def test_the_legend_names_every_step_in_its_colour(steps):
    html = legend(steps)
    assert re.findall(r">(\d+)<", html) == [str(step) for step in range(1, steps + 1)]
    assert all(colour_of(step, steps) in html for step in range(1, steps + 1))


@pytest.mark.parametrize("walked", range(5))
def test_the_square_shows_where_a_run_is(walked):
    drawing = ElementTree.fromstring(square(RUN, walked))
    lines = drawing.findall("line")
    kinds = [line.get("class") for line in lines]
    assert kinds == ["ladd-walked"] * walked + ["ladd-ahead"] * (4 - walked)
    circles = drawing.findall("circle")
    assert [circle.get("class") == "ladd-here" for circle in circles] == [number == walked for number in range(5)]
    assert all(line.get("x2") == circle.get("cx") for line, circle in zip(lines, circles[1:], strict=True))


def test_noise_is_at_the_upper_right_and_a_clean_text_at_the_lower_left():
    circles = ElementTree.fromstring(square([(1.0, 1.0), (0.0, 0.0)], 0)).findall("circle")
    noise, clean = ((float(one.get("cx")), float(one.get("cy"))) for one in circles)
    assert noise[0] > clean[0] and noise[1] < clean[1]


def test_without_latents_a_run_stays_below():
    circles = ElementTree.fromstring(square([(1.0, 1.0), (0.5, 0.5), (0.0, 0.0)], 1, latents=False)).findall("circle")
    assert len({one.get("cy") for one in circles}) == 1 and len({one.get("cx") for one in circles}) == 3


def test_codes_over_time_have_a_row_for_each_state():
    codes = torch.tensor([[[8, 3]], [[5, 3]]])
    states = Trajectory(torch.full((3, 1, 2), 10), ((1, 1), (1, 0.5), (1, 0)), codes, torch.tensor([2]), 10, 8)
    rows = re.findall(r"<tr>.*?</tr>", code_table(states, 4))
    assert [re.findall(r">([^<>]+)</td>", row) for row in rows] == [[], ["░", "░"], ["░", "3"], ["5", "3"]]
    assert colour_of(1, 4) in rows[3] and colour_of(2, 4) in rows[3]


def test_continuous_latents_have_no_table():
    states = Trajectory(torch.full((2, 1, 2), 10), ((1, 1), (0, 0)), torch.zeros(1, 1, 2, 3), torch.tensor([2]), 10)
    assert code_table(states, 1) == ""


def test_of_an_exchange_what_differs_is_marked():
    html = exchanged_texts(Exchange(["a", "<"], ["a", "c"], [False, True], [False, True]))
    before, after = html.split("with the other code")
    assert "ladd-changed" not in before and re.search(r'"ladd-changed ladd-here">c<', after)
    assert seen(before).endswith("a<") and seen(after) == "ac"
