"""Resuming from the last complete checkpoint, never from half of one; the defects of the others are reported."""

from __future__ import annotations

import json
import shutil

import pytest
import torch
from helpers.sampling import tiny_tokenizer
from helpers.training import assert_same, state_of, two_stages

from ladd_hf.training.checkpoints import MANIFEST, damage_of, defect_of, last_whole_checkpoint
from ladd_hf.training.ema import EMA_FILE

SAVING = {"max_steps": 4, "save_strategy": "steps", "save_steps": 2}
READ_AGAIN = [
    "model.safetensors",
    EMA_FILE,
    "optimizer.pt",
    "scheduler.pt",
    "rng_state.pth",
    "trainer_state.json",
]


@pytest.fixture(scope="module")
def kept():
    """The run below, for the first test that asks for it to fill in."""
    return {}


@pytest.fixture
def run(make_trainer, tmp_path, tmp_path_factory, kept):
    """A finished run of four steps with two checkpoints: its folder, to spoil, and its trainer."""
    if not kept:
        trainer = make_trainer("none", **SAVING)
        trainer.train()
        kept["folder"] = shutil.move(tmp_path / "run", tmp_path_factory.mktemp("kept") / "run")
        kept["trainer"] = trainer
    shutil.copytree(kept["folder"], tmp_path / "run")
    return tmp_path / "run", kept["trainer"]


def remove(path):
    path.unlink()


def cut(path):
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])


def blank(path):
    path.write_bytes(bytes(path.stat().st_size))


def empty(path):
    path.write_bytes(b"")


@pytest.mark.parametrize("listed", [True, False], ids=["with its list", "of an older version"])
@pytest.mark.parametrize("harm", [remove, cut, blank, empty])
@pytest.mark.parametrize("name", READ_AGAIN)
def test_a_checkpoint_without_one_of_its_files_whole_is_refused_by_the_files_name(name, harm, listed, run):
    folder, _ = run
    checkpoint = folder / "checkpoint-4"
    assert defect_of(checkpoint) is None
    if not listed:
        (checkpoint / MANIFEST).unlink()
        assert defect_of(checkpoint) is None, "whole, if without a list"
    harm(checkpoint / name)
    if (name, harm, listed) == (EMA_FILE, remove, False):  # which nothing tells but that the run has an average
        assert defect_of(checkpoint) is None
        return
    assert defect_of(checkpoint).startswith(("lacks " if harm is remove else "has damaged files: ") + name)
    assert last_whole_checkpoint(folder) == str(folder / "checkpoint-2")


@pytest.mark.parametrize("listed", [True, False], ids=["with its list", "of an older version"])
@pytest.mark.parametrize("harm", [cut, blank, empty])
def test_a_damaged_configuration_is_blamed_itself_and_the_run_goes_on_from_an_earlier_one(harm, listed, run):
    folder, _ = run
    if not listed:
        (folder / "checkpoint-4" / MANIFEST).unlink()
    harm(folder / "checkpoint-4" / "config.json")
    assert defect_of(folder / "checkpoint-4").startswith("has damaged files: config.json")
    assert last_whole_checkpoint(folder) == str(folder / "checkpoint-2")


@pytest.mark.parametrize("asked", [True, None], ids=["resume_from_checkpoint", "resume_if_exists"])
def test_a_run_goes_on_from_the_last_whole_checkpoint_and_says_which_it_skipped(asked, run, make_trainer, caplog):
    folder, whole = run
    cut(folder / "checkpoint-4" / "optimizer.pt")
    resumed = make_trainer("none", resume_if_exists=not asked, **SAVING)
    resumed.train(resume_from_checkpoint=asked)
    assert_same(state_of(whole), state_of(resumed))
    assert defect_of(folder / "checkpoint-4") is None, "written anew"
    (warning,) = [one.message for one in caplog.records if "skipped" in one.message]
    assert "checkpoint-4 has damaged files: optimizer.pt" in warning and "goes on from checkpoint-2" in warning


@pytest.mark.parametrize(
    ("names", "told"),
    [
        (["optimizer.pt"], "lacks optimizer.pt:"),
        (["scheduler.pt", "rng_state.pth"], "lacks rng_state.pth, scheduler.pt:"),
        (["optimizer.pt", "scheduler.pt", "rng_state.pth"], "lacks optimizer.pt, rng_state.pth, scheduler.pt"),
    ],
)
@pytest.mark.parametrize("listed", [True, False], ids=["with its list", "of an older version"])
def test_the_state_of_the_optimiser_is_never_silently_another(names, told, listed, run, make_trainer):
    folder, _ = run
    for name in [*names, *([] if listed else [MANIFEST])]:
        remove(folder / "checkpoint-4" / name)
    with pytest.raises(ValueError, match=f"checkpoint-4 cannot be resumed, it {told}"):
        make_trainer("none", **SAVING).train(resume_from_checkpoint=str(folder / "checkpoint-4"))


def test_a_checkpoint_of_weights_alone_is_refused_as_what_it_is(make_trainer, tmp_path):
    make_trainer("none", save_only_model=True, **SAVING).train()
    folder = tmp_path / "run"
    told = "holds weights alone, for it was saved with `save_only_model`"
    for asked in (str(folder / "checkpoint-4"), True):
        with pytest.raises(ValueError, match=told):
            make_trainer("none", **SAVING).train(resume_from_checkpoint=asked)
    (folder / "checkpoint-4" / MANIFEST).unlink()
    with pytest.raises(
        ValueError, match=r"lacks optimizer.pt, rng_state.pth, scheduler.pt, as if saved with `save_only"
    ):
        make_trainer("none", **SAVING).train(resume_from_checkpoint=str(folder / "checkpoint-4"))


def test_a_run_that_is_to_be_resumed_saves_more_than_weights(make_trainer):
    with pytest.raises(ValueError, match="`save_only_model` leaves the optimiser's state out of a checkpoint"):
        make_trainer("none", save_only_model=True, resume_if_exists=True)


def test_what_is_no_checkpoint_is_refused(run, make_trainer, tmp_path):
    folder, _ = run
    for asked, told in (
        (str(tmp_path / "nowhere"), "is not a folder"),
        (str(folder), r"holds checkpoints and is none itself: give one of them, such as .*checkpoint-4"),
    ):
        with pytest.raises(ValueError, match=told):
            make_trainer("none", **SAVING).train(resume_from_checkpoint=asked)
    with pytest.raises(ValueError, match="holds no checkpoint to go on from"):
        make_trainer("none", "other", **SAVING).train(resume_from_checkpoint=True)
    for name in ("checkpoint-2", "checkpoint-4"):
        remove(folder / name / "model.safetensors")
    with pytest.raises(
        ValueError, match=r"No checkpoint in .* can be resumed: checkpoint-4 lacks model.safetensors; ch"
    ):
        make_trainer("none", resume_if_exists=True, **SAVING).train()


def test_text_in_a_checkpoint_may_be_edited(run, make_trainer):
    folder, whole = run
    path = folder / "checkpoint-2" / "trainer_state.json"
    path.write_text(json.dumps(json.loads(path.read_text())))
    resumed = make_trainer("none", "resumed", **SAVING)
    resumed.train(resume_from_checkpoint=str(folder / "checkpoint-2"))
    assert_same(state_of(whole), state_of(resumed))


def flip(path):
    """Another byte in the middle of a file, its size and its ends as they were."""
    content = bytearray(path.read_bytes())
    content[content.index(b"\x80\x02") + 40] ^= 0xFF  # where the pickle in the archive begins
    path.write_bytes(content)


@pytest.mark.parametrize("name", ["optimizer.pt", "scheduler.pt", "rng_state.pth"])
def test_damage_that_only_a_checksum_shows_is_found(name, run, make_trainer):
    folder, _ = run
    path = folder / "checkpoint-2" / name
    flip(path)
    assert damage_of(path) is None
    with pytest.raises(ValueError, match=rf"has damaged files: {name} \(its checksum is wrong\)"):
        make_trainer("none", **SAVING).train(resume_from_checkpoint=str(path.parent))


@pytest.mark.parametrize("name", ["optimizer.pt", "scheduler.pt", "rng_state.pth"])
@pytest.mark.parametrize("content", [[1, 2], {"a": 1}, print], ids=["a list", "a dict", "code"])
def test_files_of_something_else_are_refused_and_nobody_is_told_to_trust_them(name, content, run, make_trainer):
    folder, _ = run
    (folder / "checkpoint-2" / MANIFEST).unlink()
    torch.save(content, folder / "checkpoint-2" / name)
    with pytest.raises(ValueError, match=rf"{name}.* in .*checkpoint-2 do not fit this run") as refusal:
        make_trainer("none", **SAVING).train(resume_from_checkpoint=str(folder / "checkpoint-2"))
    assert "weights_only" not in str(refusal.value)


# --- checkpoints of another run ---


@pytest.mark.parametrize(
    ("sizes", "told"),
    [
        ({"hidden_size": 16}, "size mismatch"),
        ({"num_hidden_layers": 1}, r"the checkpoint has .* besides"),
        ({"num_hidden_layers": 3}, r"the checkpoint lacks "),
    ],
)
def test_a_checkpoint_of_another_model_is_refused(sizes, told, run, make_trainer, tiny_model):
    folder, _ = run
    with pytest.raises(ValueError, match=rf"model.safetensors in .*checkpoint-2 do not fit this run \(.*{told}"):
        make_trainer(tiny_model("none", **sizes)).train(resume_from_checkpoint=str(folder / "checkpoint-2"))


def test_tied_weights_are_no_missing_ones(make_trainer, tiny_model):
    trainers = [make_trainer(tiny_model("none", tie_word_embeddings=True), name, **SAVING) for name in ("a", "b")]
    trainers[0].train()
    trainers[1].train(resume_from_checkpoint=f"{trainers[0].args.output_dir}/checkpoint-2")
    assert_same(*map(state_of, trainers))


def test_a_checkpoint_of_other_stages_is_refused_where_they_have_begun(make_trainer):
    first = make_trainer("discrete", stages=two_stages(2), **SAVING)
    first.train()
    with pytest.raises(
        ValueError, match=r"Until step 4 .* stages began at \[0, 2\], .* would have at \[0, 3\].*`max_steps` of 4\."
    ):
        make_trainer("discrete", "a", stages=two_stages(3)).train(f"{first.args.output_dir}/checkpoint-4")
    make_trainer("discrete", "b", stages=two_stages(2), max_steps=5).train(f"{first.args.output_dir}/checkpoint-4")


def test_a_checkpoint_of_another_tokenizer_is_refused(make_trainer, tiny_model):
    def trainer(folder, more=()):
        tokenizer = tiny_tokenizer()
        tokenizer.add_tokens(list(more))
        model = tiny_model("none", vocab_size=12)
        return make_trainer(model, folder, trainer_options={"processing_class": tokenizer}, **SAVING)

    first = trainer("a")
    first.train()
    checkpoint = f"{first.args.output_dir}/checkpoint-2"
    same = trainer("b")
    same.train(checkpoint)
    assert_same(state_of(first), state_of(same))
    with pytest.raises(ValueError, match="trained with a tokenizer whose tokens have other ids"):
        trainer("c", ["j"]).train(checkpoint)


def test_an_average_that_is_dropped_is_named(run, make_trainer, caplog):
    folder, _ = run
    make_trainer("none", "other", ema_decay=0.0, **SAVING).train(str(folder / "checkpoint-2"))
    assert "has averaged weights, which are dropped, for `ema_decay` is 0" in caplog.text


def test_a_best_checkpoint_that_is_gone_is_no_silent_last_one(run):
    folder, trainer = run
    trainer.state.best_model_checkpoint = str(folder / "checkpoint-2")
    shutil.rmtree(folder / "checkpoint-2")
    with pytest.raises(ValueError, match=r"The best checkpoint, .*checkpoint-2, has no weights any more"):
        trainer._load_best_model()
