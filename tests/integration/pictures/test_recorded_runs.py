"""A recorded run is the run: its states, its final sample, the steps of its tokens; as an animation and as text."""

from __future__ import annotations

import io

import pytest
import torch
from helpers.missing_packages import hide
from helpers.sampling import KINDS, MASK, seeded, tiny_tokenizer
from PIL import Image
from rich.console import Console

from ladd_hf import LaddJointScheduler, LaddPipeline, LaddSequentialScheduler
from ladd_hf.pictures import Trajectory, TrajectoryRecorder, gif, record, show

STEPS = 5


def pipeline(model, scheduler=None, tokenizer=None):
    scheduler = LaddSequentialScheduler() if scheduler is None else scheduler
    pipe = LaddPipeline(model, scheduler, tokenizer)
    pipe.set_progress_bar_config(disable=True)
    return pipe


@pytest.fixture
def recorded(stirred_model):
    """`recorded(kind, **options)`: a pipeline of texts, its output and its trajectory."""

    def run(kind="discrete", scheduler=None, tokenizer=None, **options):
        pipe = pipeline(stirred_model(kind), scheduler, tokenizer)
        return pipe, *record(pipe, **{"num_steps": STEPS, "batch_size": 3, "generator": seeded(), **options})

    return run


@pytest.mark.parametrize("kind", KINDS)
def test_recording_changes_nothing_and_ends_with_the_sample(kind, recorded, stirred_model):
    pipe, output, run = recorded(kind)
    plain = pipeline(stirred_model(kind))(num_steps=STEPS, batch_size=3, generator=seeded())
    assert torch.equal(output.sequences, plain.sequences)
    assert torch.equal(run.tokens[-1], output.sequences)
    assert (run.tokens[0] == MASK).all() and run.num_steps == STEPS
    assert run.times[0] == (1, 0 if kind == "none" else 1) and run.times[-1] == (0, 0)
    assert torch.allclose(torch.tensor(run.times), torch.tensor(pipe.scheduler.run(STEPS)))
    if kind == "none":
        assert run.latents is None
    else:
        assert torch.equal(run.latents[-1], output.latents) and len(run.latents) == STEPS
    # each token is written once, in a step that moves the tokens, and all that a state lacks is written later
    for number in range(STEPS + 1):
        assert torch.equal(run.tokens[number] == MASK, run.written > number)
    moved = [number for number in range(1, STEPS + 1) if run.times[number][0] < run.times[number - 1][0]]
    assert set(run.written.unique().tolist()) <= set(moved)


def test_codes_are_written_in_the_steps_that_move_them(recorded):
    _, _, run = recorded("vector")
    moved = [number for number in range(1, STEPS + 1) if run.times[number][1] < run.times[number - 1][1]]
    assert set(run.code_steps[-1].unique().tolist()) <= set(moved) and (run.codes[0] == run.code_mask_id).all()


@pytest.mark.parametrize("unmasking", ["first_hitting", "margin"])
def test_each_token_has_its_step_where_one_is_written_at_a_time(unmasking, recorded):
    scheduler = LaddJointScheduler(unmasking=unmasking)
    _, _, run = recorded("none", scheduler, num_steps=12)
    assert all(sorted(row) == list(range(1, 13)) for row in run.written.tolist())


def test_remasked_tokens_have_the_step_that_wrote_them_last(recorded):
    scheduler = LaddJointScheduler(remasking={"name": "cap", "rate": 0.5})
    _, output, run = recorded("none", scheduler, num_steps=12)
    assert torch.equal(run.tokens[-1], output.sequences)
    for row, step in enumerate(run.written.tolist()):
        for place, number in enumerate(step):
            last = [n for n in range(1, 13) if run.tokens[n - 1, row, place] == MASK]
            assert number == max(last)
    assert (run.steps[1:] < run.steps[:-1]).any()  # some were masked again


def test_a_prompt_is_given_and_padding_is_not_shown(recorded):
    _, output, run = recorded(
        "discrete", tokenizer=tiny_tokenizer(), prompt=["ab", "c"], length=[5, 9], batch_size=None
    )
    assert torch.equal(run.tokens[-1], output.sequences) and run.lengths.tolist() == [5, 9]
    assert (run.written[0, :2] == 0).all() and (run.written[0, 2:5] > 0).all()
    assert (run.written[1, :1] == 0).all() and (run.written[1, 1:9] > 0).all()


def test_given_latents_have_no_steps(recorded):
    codes = torch.randint(8, (3, 4), generator=seeded())
    _, _, run = recorded("vector", latents=codes)
    assert run.times[0] == (1, 0) and torch.equal(run.codes[0], codes) and (run.code_steps == 0).all()


def test_a_text_that_ends_early_is_the_sample_as_far_as_it_goes(stirred_model):
    model = stirred_model("none", eos_token_id=3)
    output, run = record(pipeline(model), num_steps=STEPS, batch_size=6, generator=seeded(), stop_at_eos=True)
    assert (output.lengths < 12).any() and torch.equal(run.lengths, output.lengths)
    for row, length in enumerate(output.lengths.tolist()):
        assert torch.equal(run.tokens[-1, row, :length], output.sequences[row, :length])


def test_a_recorder_within_a_callback_keeps_the_latest_run(stirred_model):
    recorder, seen = TrajectoryRecorder(), []

    def own(pipe, step, timestep, tensors):
        seen.append(step)
        recorder(pipe, step, timestep, tensors)

    pipe = pipeline(stirred_model("discrete"))
    recording = {"callback_on_step_end": own, "callback_on_step_end_tensor_inputs": recorder.tensor_inputs}
    for seed, count in ((0, 2), (1, 3)):
        output = pipe(num_steps=STEPS, batch_size=count, generator=seeded(seed), **recording)
    assert seen == [*range(STEPS)] * 2
    assert torch.equal(recorder.trajectory(output.lengths).tokens[-1], output.sequences)


def test_wrong_uses_are_told_in_a_sentence(stirred_model):
    pipe = pipeline(stirred_model("none"))
    with pytest.raises(ValueError, match="No step was recorded: give the recorder to a pipeline"):
        TrajectoryRecorder().trajectory()
    with pytest.raises(ValueError, match=r"not given \['unmask'\]: pass `recorder.tensor_inputs`"):
        pipe(
            num_steps=2,
            callback_on_step_end=TrajectoryRecorder(),
            callback_on_step_end_tensor_inputs=["tokens", "latents"],
        )
    with pytest.raises(ValueError, match="call a `TrajectoryRecorder` within your own callback"):
        record(pipe, num_steps=2, callback_on_step_end=print)


def test_a_tuple_is_recorded_as_well(recorded):
    _, output, run = recorded("none", return_dict=False)
    assert isinstance(run, Trajectory) and torch.equal(run.tokens[-1], output[0])


@pytest.mark.parametrize("kind", ["none", "continuous", "discrete"])
def test_the_animation_has_a_frame_for_each_state(kind, recorded, tmp_path):
    pipe, _, run = recorded(kind, tokenizer=tiny_tokenizer())
    gif(run, tmp_path / "sample.gif", pipe.tokenizer, row=2, columns=7, seconds=0.2)
    with Image.open(tmp_path / "sample.gif") as image:
        assert image.format == "GIF" and image.n_frames == STEPS + 1 and image.info["loop"] == 0
        durations, frames = [], []
        for number in range(image.n_frames):
            image.seek(number)
            durations.append(image.info["duration"])
            frames.append(image.convert("RGB"))
    assert durations == [200] * STEPS + [800]
    assert len({frame.tobytes() for frame in frames}) == STEPS + 1 and len({frame.size for frame in frames}) == 1


def test_the_same_run_is_the_same_animation_and_rows_differ(recorded, tmp_path):
    _, _, run = recorded()
    for name, row in (("a", 0), ("b", 0), ("c", 1)):
        gif(run, tmp_path / name, row=row)
    first, second, other = ((tmp_path / name).read_bytes() for name in "abc")
    assert first == second != other


@pytest.mark.parametrize(
    ("options", "said"), [({"row": 3}, "from 0 to 2"), ({"columns": 0}, "columns"), ({"seconds": 0}, "seconds")]
)
def test_animations_that_cannot_be_are_refused(options, said, recorded, tmp_path):
    _, _, run = recorded()
    with pytest.raises(ValueError, match=said):
        gif(run, tmp_path / "sample.gif", **options)
    assert not (tmp_path / "sample.gif").exists()


def printed(run, terminal, **options):
    file = io.StringIO()
    show(
        run,
        console=Console(file=file, force_terminal=terminal, color_system="truecolor" if terminal else None, width=40),
        **options,
    )
    return file.getvalue()


def test_without_a_terminal_the_text_is_plain_and_whole(recorded):
    pipe, output, run = recorded("discrete", tokenizer=tiny_tokenizer())
    for row in range(3):
        said = printed(run, False, tokenizer=pipe.tokenizer, row=row)
        assert "\x1b" not in said
        states = said.rstrip().split("\n\n")
        assert len(states) == STEPS + 1 and states[0].startswith(f"step 0 of {STEPS}")
        assert states[-1].splitlines()[-1] == output.texts[row] and set(states[0].splitlines()[-1]) == {"░"}
        codes = [int(one) for one in states[-1].splitlines()[1].split()]
        assert codes == output.latents[row].tolist()


def test_in_a_terminal_steps_have_colours(recorded):
    _, _, run = recorded("none")
    said = printed(run, True)
    assert "\x1b[1;4;38;2;0;0;0;48;2;255;214;64m" in said  # new in the first step: bold, underlined, on yellow
    assert "\x1b[1;4;38;2;0;0;0;48;2;110;176;255m" in said  # in the last: on blue


@pytest.mark.parametrize(
    ("missing", "said"),
    [
        ("PIL", r"An animation needs the package pillow: pip install 'ladd_hf\[plot\]'"),
        ("rich", r"Coloured text needs the package rich: pip install 'ladd_hf\[terminal\]'"),
    ],
)
def test_missing_packages_are_named_with_their_command(missing, said, recorded, monkeypatch, tmp_path):
    _, _, run = recorded()
    hide(missing, monkeypatch)
    with pytest.raises(ImportError, match=said):
        gif(run, tmp_path / "sample.gif") if missing == "PIL" else show(run)


def test_another_run_on_the_same_scheduler_changes_no_times_of_a_recorded_one(stirred_model):
    pipe = pipeline(stirred_model("discrete"))
    recorder = TrajectoryRecorder()

    def after_step(pipe, index, timestep, tensors):
        if index == 0:
            pipe(num_steps=2, generator=seeded())
        assert pipe.running_scheduler is not pipe.scheduler and len(pipe.running_scheduler.timesteps) == STEPS
        recorder(pipe, index, timestep, tensors)

    asked = {"callback_on_step_end": after_step, "callback_on_step_end_tensor_inputs": recorder.tensor_inputs}
    pipe(num_steps=STEPS, generator=seeded(), **asked)
    _, alone = record(pipe, num_steps=STEPS, generator=seeded())
    assert recorder.trajectory().times == alone.times == alone.run
