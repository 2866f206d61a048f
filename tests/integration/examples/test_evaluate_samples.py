"""Samples of saved models, measured alike in one command."""

from __future__ import annotations

import json

import pytest
from helpers.examples import evaluate_ladd

from ladd_hf import LaddConfig, LaddForDiffusionLM, LaddJointScheduler, LaddPipeline, LaddSequentialScheduler
from ladd_hf.data import character_tokenizer
from ladd_hf.evaluation.comparison_files import load_comparison

TOKENIZER = character_tokenizer()
SIZES = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "max_position_embeddings": 12}
LATENTS = {"latent_type": "discrete", "latent_length": 4, "latent_dim": 2, "codebook_size": 4}
FEW = ("--num_samples", 6, "--budgets", 2, 3, "--num_sequences", 0)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Models of text and of the sawtooth, and a file of text."""
    folder = tmp_path_factory.mktemp("evaluate")
    ids = {"mask_token_id": TOKENIZER.mask_token_id, "pad_token_id": TOKENIZER.pad_token_id}
    for name, latents in {"mdlm": {}, "di-ladd": LATENTS}.items():
        scheduler = LaddSequentialScheduler() if latents else LaddJointScheduler()
        model = LaddForDiffusionLM(LaddConfig(vocab_size=len(TOKENIZER), **ids, **SIZES, **latents))
        LaddPipeline(model, scheduler, TOKENIZER).save_pretrained(folder / name)
        sawtooth = LaddForDiffusionLM(LaddConfig(vocab_size=3, **SIZES, **latents))
        LaddPipeline(sawtooth, scheduler).save_pretrained(folder / f"sawtooth-{name}")
    (folder / "texts").mkdir()
    text = "all happy families are alike and each unhappy one is so in its way "
    (folder / "texts" / "train.txt").write_text(text * 8)
    (folder / "texts" / "validation.txt").write_text(text[::-1] * 6)
    return folder


@pytest.fixture
def measure(folder, tmp_path, monkeypatch):
    """`measure(name, *flags)`: the script on the file of text, with results in `tmp_path / "out"`."""
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")

    def run(name, *flags, data=folder / "texts"):
        given = (folder / name, "--data", data, "--cpu", "--results", tmp_path / "out", *flags)
        evaluate_ladd.main([str(flag) for flag in given])

    return run


def test_models_side_by_side_with_judges_corners_and_bounds(measure, folder, tmp_path, capsys):
    corners = "[[1, 1], [1, 0.5], [0, 0]]"
    flags = (*FEW, "--beside", folder / "mdlm", "--schedules", "saved", corners, "tuned", "--timing_rounds", 1)
    bounds = ("--num_texts", 3, "--num_proposals", 2, "--samples", 2)
    judges = ("--judges", "entropy", '{"name": "memorization", "window": 5}', "{name: ngram, order: 3}")
    judges += ("--measures", "code_usage", "{name: latent_usefulness, token_times: [1]}", "--num_sequences", 4)
    measure("di-ladd", *flags, *bounds, *judges)
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert names == {"mdlm.json", "di-ladd.json", "table.md", "equal-cost.json", "quality.png", "command.txt"}
    rows = json.loads((tmp_path / "out" / "di-ladd.json").read_text())["rows"]
    schedules = ["saved", "1-1_1-0.5_0-0", "tuned"]
    assert [(row["schedule"], row["num_steps"]) for row in rows] == [(name, n) for name in schedules for n in (2, 3)]
    assert {"entropy", "memorized", "nats", "bound", "marginal_bound", "seconds", "flops"} < set(rows[0])
    costs = json.loads((tmp_path / "out" / "equal-cost.json").read_text())
    assert {one["axis"] for one in costs} == {"nfe", "flops", "seconds"} and costs[0]["score_stderr"] > 0
    table, said = (tmp_path / "out" / "table.md").read_text(), capsys.readouterr().out
    assert table in said and "tuned, 3 evaluations: entropy" in said
    assert "| code_usage | mdlm | di-ladd |" in table and "| codes that do not occur |  | " in table
    assert "mdlm has no latents." in table
    assert "| mdlm saved there |" in table and "#### At equal seconds" in table
    assert str(folder) not in table + "".join(path.read_text() for path in (tmp_path / "out").glob("*.json"))
    measure("di-ladd", *flags, *bounds, *judges)
    assert (
        " evaluations:" not in (again := capsys.readouterr().out) and "code_usage:" not in again
    )  # nothing is measured twice


def test_the_baseline_may_be_named(measure, folder, tmp_path, capsys):
    flags = ("--num_samples", 4, "--budgets", 2, "--num_sequences", 0, "--schedules", "saved", "joint")
    flags += ("--beside", folder / "mdlm", "--judges", "entropy")
    with pytest.raises(SystemExit):
        measure("di-ladd", *flags, "--baseline", "mdlm tuned")
    assert "give one of ['mdlm saved', 'mdlm joint', 'di-ladd saved'" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()  # refused before anything is measured
    one_file = tmp_path / "all.json"
    measure("di-ladd", *flags, "--baseline", "di-ladd joint", "--json", one_file)
    assert "| di-ladd joint there |" in (tmp_path / "out" / "table.md").read_text()
    assert load_comparison(one_file).baseline() == "di-ladd joint"
    assert json.loads(one_file.read_text())["command"] == (tmp_path / "out" / "command.txt").read_text().strip()
    capsys.readouterr()
    measure("di-ladd", *flags)  # another table of the same numbers
    assert " evaluations:" not in capsys.readouterr().out
    assert "| mdlm saved there |" in (tmp_path / "out" / "table.md").read_text()


def test_the_cost_of_training_is_that_of_the_models_folder(measure, folder, tmp_path):
    cost = {"steps": 3, "flops": 2e12, "seconds": 9.0, "uncounted_steps": 0, "hardware": "1 x CPU", "stages": []}
    (folder / "mdlm" / "training_cost.json").write_text(json.dumps(cost))
    measure("di-ladd", "--num_samples", 0, "--budgets", 2, "--beside", folder / "mdlm")
    models = {
        name: json.loads((tmp_path / "out" / f"{name}.json").read_text())["model"] for name in ("mdlm", "di-ladd")
    }
    assert models["mdlm"]["training"] == cost and "training" not in models["di-ladd"]
    assert "| mdlm | all | 3 | 2.0 | 9 | 1 x CPU |" in (tmp_path / "out" / "table.md").read_text()
    (folder / "mdlm" / "training_cost.json").unlink()


def test_the_sawtooth_is_judged_exactly_and_by_further_judges(measure, tmp_path):
    judge = "{name: distribution_distance, projections: 4}"
    measure("sawtooth-di-ladd", *FEW, "--judges", judge, data="sawtooth")
    found = json.loads((tmp_path / "out" / "sawtooth-di-ladd.json").read_text())
    assert found["task"]["exact"] and {"nats", "sliced_wasserstein", "token_kl"} < set(found["rows"][0])


def test_judges_read_as_much_of_the_training_texts_as_they_are_told(measure, tmp_path, capsys):
    few = (*FEW, "--judges", "{name: memorization, window: 3}", "--judge_characters", 40)
    measure("mdlm", *few)
    task = json.loads((tmp_path / "out" / "mdlm.json").read_text())["task"]
    assert task["judge_characters"] == 40 and "the first 40 characters" in task["measures"][0]["about"]
    assert "judges read the first 40 characters at most" in (tmp_path / "out" / "table.md").read_text()
    measure("mdlm", *few, "--judges", "ngram", "--results", tmp_path / "ngram")
    with pytest.raises(SystemExit):
        measure("mdlm", *few, "--judges", "ngram", "--judge_characters", 41, "--results", tmp_path / "ngram")
    assert "holds results with another `judge_characters` (40, not 41)" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        measure("sawtooth-mdlm", *FEW, "--judge_characters", 41, data="sawtooth")
    assert "`judge_characters` is 41, but the sawtooth has no texts" in capsys.readouterr().err


def test_a_file_by_itself_has_texts_held_out(measure, folder, tmp_path):
    measure(
        "mdlm",
        "--num_samples",
        4,
        "--budgets",
        2,
        "--num_texts",
        2,
        "--num_sequences",
        3,
        data=folder / "texts" / "train.txt",
    )
    found = json.loads((tmp_path / "out" / "mdlm.json").read_text())
    assert found["task"]["name"] == "train.txt, length 12" and found["task"]["held_out"]["split"] == "validation"
    assert found["bounds"]["tokens"]["nats_per_token"] > 0 and "nats" in found["rows"][0]


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ((*FEW, "--paths", "zigzag"), "'zigzag' is unknown"),
        ((*FEW, "--num_sequences", 3, "--paths", "[[0, 1], [0, 0]]"), "is not accepted: give corners"),
        ((*FEW, "--num_texts", -1), "--num_texts is -1; give a whole number of at least 0"),
        ((*FEW, "--schedules", "zigzag"), "'zigzag' is unknown"),
        ((*FEW, "--schedules", "[[1, 1], [0"), "is not JSON"),
        ((*FEW, "--judges", "taste"), "--judges taste: The judge 'taste' is unknown; give one of"),
        ((*FEW, "--judges", "{name: "), "--judges {name: : '{name: ' is not YAML (while"),
        ((*FEW, "--judges", "{window: 5}"), "--judges {window: 5}: The judge is {'window': 5}; give its name"),
        ((*FEW, "--measures", "taste"), "--measures taste: The measure 'taste' is unknown; give one of"),
        ((*FEW, "--measures", "{name: code_usage, size: 3}"), "--measures: The measure 'code_usage' has no option"),
        ((*FEW, "--measures", "code_usage", "--num_sequences", 0), "`measures` are of held-out texts, and"),
        ((*FEW, "--num_proposals", 2), "`num_proposals` is 2 without texts: give `num_texts`"),
        (("--budgets", 0), "`budgets` is 0"),
        ((*FEW, "--num_sample", 3), "did you mean --num_samples?"),
    ],
)
def test_flags_that_can_not_work_are_named_before_anything_is_loaded(measure, tmp_path, flags, message, capsys):
    with pytest.raises(SystemExit) as stopped:
        measure("nowhere", *flags)
    assert stopped.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert message in line and not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("name", "flags", "data", "message"),
    [
        ("di-ladd", FEW, "sawtooth", "The model has 29 tokens, and the sawtooth 3"),
        ("sawtooth-mdlm", FEW, None, "has no tokenizer, which the texts of"),
        ("sawtooth-mdlm", (*FEW, "--judges", "ngram"), "sawtooth", "'ngram' reads texts"),
        ("di-ladd", (*FEW, "--schedules", "sequential", "--budgets", 1), None, "too few for any of the schedules"),
    ],
)
def test_what_can_not_be_measured_is_said_in_a_sentence(measure, folder, name, flags, data, message, capsys):
    with pytest.raises(SystemExit) as stopped:
        measure(name, *flags, data=data or folder / "texts")
    assert stopped.value.code == 2 and message in capsys.readouterr().err


def test_a_file_of_which_all_is_read_is_told(measure, folder, capsys):
    flags, file = ("--num_samples", 0, "--num_sequences", 2), folder / "texts" / "train.txt"
    measure("mdlm", *flags, data=file)
    assert f"Without samples all of {file} is read, training texts included" in capsys.readouterr().out
    measure("mdlm", *flags, "--split", "validation", "--results", folder / "other", data=file)
    assert "Without samples" not in capsys.readouterr().out


def test_results_of_another_evaluation_are_not_mixed_in(measure, tmp_path, capsys):
    measure("mdlm", *FEW)
    before = (tmp_path / "out" / "mdlm.json").read_bytes()
    with pytest.raises(SystemExit):
        measure("mdlm", *FEW, "--seed", 1)
    said = capsys.readouterr().err
    assert "holds results with another `seed` (0, not 1)" in said and "(--results of the command)" in said
    assert (tmp_path / "out" / "mdlm.json").read_bytes() == before


def test_help_lists_every_flag(capsys):
    with pytest.raises(SystemExit) as stopped:
        evaluate_ladd.main(["--help"])
    said = capsys.readouterr().out
    assert stopped.value.code == 0 and "Evaluates trained models on a corpus" in said
    assert all(f"--{name}" in said for name in vars(evaluate_ladd.EvaluationArguments("", "")))
