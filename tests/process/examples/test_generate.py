"""Samples by the thousand: the same file whatever shares the work."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from helpers.examples import generate as script
from helpers.sampling import tiny_tokenizer

import ladd_hf
from ladd_hf import LaddJointScheduler, LaddPipeline, LaddSequentialScheduler

SCRIPT = Path(__file__).resolve().parents[3] / "examples" / "generate.py"


def generate(*flags: object) -> None:
    """The script, in this process."""
    script.main([str(flag) for flag in ("--cpu", *flags)])


@pytest.fixture(scope="module")
def folder(stirred_model, tmp_path_factory):
    """Pipelines, one with a tokenizer, and prompts."""
    folder = tmp_path_factory.mktemp("generate")
    for kind in ("none", "continuous", "discrete"):
        LaddPipeline(stirred_model(kind), LaddJointScheduler(timestep_spacing="cosine")).save_pretrained(folder / kind)
    LaddPipeline(stirred_model("discrete"), tokenizer=tiny_tokenizer()).save_pretrained(folder / "text")
    (folder / "prompts.txt").write_text("cd\n\ne\n")
    return folder


def lines(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_two_processes_write_the_bytes_of_one_whatever_the_batch_size(folder, tmp_path):
    flags = ("--pipeline", folder / "discrete", "--num_samples", 23, "--num_steps", 4, "--seed", 3)
    one, two = tmp_path / "one.jsonl", tmp_path / "two.jsonl"
    generate(*flags, "--batch_size", 64, "--output", one)
    environment = dict(os.environ, OMP_NUM_THREADS="1", PYTHONPATH=str(Path(ladd_hf.__file__).parents[1]))
    launcher = ("-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2")
    command = [sys.executable, *launcher, SCRIPT, "--cpu", *flags, "--batch_size", 5, "--output", two]
    run = subprocess.run(list(map(str, command)), env=environment, capture_output=True, text=True, timeout=300)
    assert run.returncode == 0, run.stderr[-3000:]
    assert run.stdout.count("23 samples in") == 1
    assert two.read_bytes() == one.read_bytes()
    assert {path.name for path in tmp_path.iterdir()} == {"one.jsonl", "two.jsonl"}


@pytest.mark.parametrize("kind", ["none", "continuous", "discrete"])
@pytest.mark.parametrize("schedule", ["joint", "sequential"])
def test_the_batch_size_does_not_matter_and_the_seed_does(folder, kind, schedule, tmp_path):
    flags = ("--pipeline", folder / kind, "--num_samples", 9, "--num_steps", 4, "--schedule", schedule)
    for name, more in {"whole": (), "by four": ("--batch_size", 4), "other": ("--seed", 1)}.items():
        generate(*flags, *more, "--output", tmp_path / name)
    whole = (tmp_path / "whole").read_bytes()
    assert (tmp_path / "by four").read_bytes() == whole
    assert (tmp_path / "other").read_bytes() != whole


def test_a_line_has_the_number_the_ids_and_the_evaluations_in_order(folder, tmp_path):
    generate("--pipeline", folder / "discrete", "--num_samples", 7, "--num_steps", 3, "--output", tmp_path / "out")
    found = lines(tmp_path / "out")
    assert [set(line) for line in found] == [{"index", "ids", "nfe"}] * 7
    assert [line["index"] for line in found] == list(range(7))
    assert all(line["nfe"] == 3 and len(line["ids"]) == 12 for line in found)
    assert len({tuple(line["ids"]) for line in found}) == 7


def test_more_samples_begin_with_the_fewer_ones(folder, tmp_path):
    for count in (3, 8):
        flags = ("--pipeline", folder / "none", "--num_samples", count, "--num_steps", 4)
        generate(*flags, "--output", tmp_path / f"{count}")
    assert lines(tmp_path / "8")[:3] == lines(tmp_path / "3")


def test_prompts_take_turns_and_start_their_texts(folder, tmp_path):
    flags = ("--pipeline", folder / "text", "--prompts", folder / "prompts.txt", "--num_samples", 3, "--length", 6)
    generate(*flags, "--num_steps", 4, "--batch_size", 4, "--output", tmp_path / "out")
    found = lines(tmp_path / "out")
    assert len(found) == 6 and len({line["text"] for line in found}) > 2
    for line in found:
        assert line["text"].startswith(("cd", "e")[line["index"] % 2])


def test_another_schedule_keeps_the_options_of_the_saved_one(folder, tmp_path):
    expected = LaddPipeline.from_pretrained(folder / "discrete")
    expected.scheduler = LaddSequentialScheduler(timestep_spacing="cosine")
    expected.set_progress_bar_config(disable=True)
    flags = ("--pipeline", folder / "discrete", "--num_samples", 4, "--num_steps", 4, "--schedule", "sequential")
    generate(*flags, "--output", tmp_path / "out")

    random = ladd_hf.RowGenerator.from_seed(0, torch.arange(4))
    sequences = expected(num_steps=4, batch_size=4, generator=random).sequences.tolist()
    assert [line["ids"] for line in lines(tmp_path / "out")] == sequences


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--token_waiting", "soon"), "--token_waiting soon is unknown; give one of none, until_known, while_written."),
        (("--schedule", "zigzag"), "--schedule zigzag is unknown; give joint, sequential"),
        (("--schedule", "[[1, 1], [0, 0.5]]"), "along which no time rises"),
        (("--num_samples", "0"), "--num_samples is 0"),
        (("--prompts", "nowhere.txt"), "--prompts nowhere.txt is not a file"),
        (("--output", "nowhere/out"), "--output nowhere/out is in no folder"),
        (("--dtype", "int8"), "--dtype int8 is unknown"),
    ],
)
def test_flags_that_can_not_work_are_named(folder, flags, message, capsys):
    with pytest.raises(SystemExit):
        generate("--pipeline", folder / "none", *flags)
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("flags", "message"),
    [(("--length", "99"), "99"), (("--temperature", "-1"), "temperature"), (("--prompts",), "no tokenizer")],
)
def test_what_the_pipeline_refuses_leaves_no_file(folder, flags, message, tmp_path):
    flags = (*flags, folder / "prompts.txt") if flags == ("--prompts",) else flags
    (tmp_path / "out").write_text("an earlier run's\n")
    with pytest.raises(SystemExit, match=message):
        generate("--pipeline", folder / "none", *flags, "--output", tmp_path / "out")
    assert (tmp_path / "out").read_text() == "an earlier run's\n"
    assert len(list(tmp_path.iterdir())) == 1


def test_the_way_of_the_first_sample_is_shown_and_changes_nothing(folder, tmp_path, capsys):
    flags = ("--pipeline", folder / "text", "--num_samples", 3, "--num_steps", 4)
    generate(*flags, "--output", tmp_path / "one")
    assert "step" not in capsys.readouterr().out
    generate(*flags, "--output", tmp_path / "two", "--watch")
    said = capsys.readouterr().out
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()
    assert said.count(" of 4   t_x") == 5 and lines(tmp_path / "one")[0]["text"] in said.splitlines()
