"""One command draws the pictures of runs and evaluations, and a page with all of them."""

from __future__ import annotations

import json
import re
import shlex
import sys

import pytest
import torch
from helpers.evaluations import results_of
from helpers.examples import folded, gallery_evaluations, make_gallery
from PIL import Image

from ladd_hf import LaddPipeline, LaddSequentialScheduler
from ladd_hf.evaluation import EvaluationSettings, evaluate_models
from ladd_hf.evaluation.models import COMMAND
from ladd_hf.evaluation.seeds import compared_over_seeds

FACTS = {"steps": "1,700, 1,200 in the stage 'encoder', 500 in the stage 'prior'"}
LOG = [{"loss": 2.0, "token_loss": 2.0, "step": 100}, {"loss": 1.0, "token_loss": 1.0, "step": 1700}]
IDS = {"vocab_size": 3, "mask_token_id": 2, "pad_token_id": None}
FEW = ("--num_texts", "20", "--num_tuning_texts", "4", "--num_steps", "3")


@pytest.fixture(scope="module")
def folder(stirred_model, tmp_path_factory):
    """Two runs on the sawtooth, and an evaluation."""
    folder = tmp_path_factory.mktemp("gallery")
    for kind, method in (("vector", "di-ladd"), ("continuous", "co-ladd")):
        run = folder / kind
        pipe = LaddPipeline(stirred_model(kind, **IDS), LaddSequentialScheduler())
        pipe.save_pretrained(run / method)
        command = {"command": "accelerate launch examples/train_ladd.py --seed 0"} if kind == "vector" else {}
        (run / "results.json").write_text(json.dumps({"facts": FACTS, "log": {"ladd": LOG}, **command}))
    LaddPipeline(stirred_model("none", **IDS)).save_pretrained(folder / "vector" / "mdlm")
    settings = EvaluationSettings(budgets=(2, 4), num_samples=10, batch_size=10)
    models = [str(folder / "vector" / name) for name in ("di-ladd", "mdlm")]
    evaluate_models(models, "sawtooth", settings, folder / "evaluation")
    (folder / "evaluation" / COMMAND).write_text("python examples/evaluate_ladd.py out/di-ladd\n")
    return folder


def test_the_page_shows_every_picture_with_a_sentence(folder, tmp_path, capsys):
    runs = [str(folder / kind) for kind in ("vector", "continuous")]
    target = ("--pictures", str(tmp_path / "docs" / "pictures"), "--page", str(tmp_path / "docs" / "page.md"))
    make_gallery.main([*runs, "--data", "sawtooth", "--evaluations", str(folder / "evaluation"), *FEW, *target])
    page = (tmp_path / "docs" / "page.md").read_text()
    shown = re.findall(r"^!\[(.*)\]\(pictures/(.*)\)\n\n((?:.+\n)*.*\.)$", page, re.MULTILINE)
    names = [file for _, file, _ in shown]
    assert names == [
        "binary-sawtooth-length-12-quality.png",
        "vector-loss.png",
        *(f"vector-di-ladd-{what}" for what in ("losses.png", "codes.png", "latents.png", "sample.gif")),
        *(f"vector-mdlm-{what}" for what in ("losses.png", "sample.gif")),
        "continuous-loss.png",
        *(f"continuous-co-ladd-{what}" for what in ("losses.png", "latents.png", "sample.gif")),
    ]
    assert "## vector\n\nMade by\n\n```bash\naccelerate launch examples/train_ladd.py --seed 0\n```" in page
    assert "## continuous\n\nMade by a command that its files do not hold.\n\n" in page
    assert "length 12\n\nMade by\n\n```bash\npython examples/evaluate_ladd.py out/di-ladd\n```" in page
    assert {path.name for path in (tmp_path / "docs" / "pictures").iterdir()} == set(names)
    for name in names:
        with Image.open(tmp_path / "docs" / "pictures" / name) as image:
            assert getattr(image, "n_frames", 1) == (4 if name.endswith(".gif") else 1)
    assert "in the stages encoder, prior." in {file: said for _, file, said in shown}["vector-loss.png"]
    assert "python examples/make_gallery.py out/vector out/continuous" in page and str(folder) not in page
    assert f"{len(names)} pictures on" in capsys.readouterr().out


def test_stages_are_read_from_a_runs_facts():
    assert make_gallery.stages_of(FACTS) == [("encoder", 1200), ("prior", 500)]
    assert make_gallery.stages_of({"steps": "900"}) == make_gallery.stages_of({}) == []


def test_the_baseline_comes_first(folder):
    comparison = gallery_evaluations.comparison_of(folder / "evaluation")
    assert comparison.baseline() == "mdlm saved"
    section = gallery_evaluations.of_evaluation(folder / "evaluation", folder)
    ((name, said),) = section.pictures
    assert name == "binary-sawtooth-length-12-quality.png"
    assert said.endswith("at equal evaluations and operations, with standard errors over 10 samples.")


def test_means_over_trainings_are_drawn_from_their_file(tmp_path):
    seeds = [results_of("a", [("saved", 2, 5.0, score)], settings={"seed": seed}) for seed, score in enumerate((1, 2))]
    for one in seeds:
        one.model["fingerprint"] = str(one.settings["seed"])
    file = tmp_path / "tiny_quality.json"
    told = {"command": "python benchmarks/quality_tables.py", "command_note": "Like this one:"}
    file.write_text(json.dumps({**told, **compared_over_seeds([seeds]).data()}))
    section = gallery_evaluations.of_evaluation(file, tmp_path)
    assert section.pictures[0][0] == "tiny-quality.png" and (tmp_path / "tiny-quality.png").stat().st_size > 5_000
    assert "with standard errors over 2 trainings, 7 samples of each." in section.pictures[0][1]
    assert (section.command, section.said) == ("python benchmarks/quality_tables.py", "Like this one:")


def test_anchors_are_drawn_as_the_finite_set_that_they_are(stirred_model, tmp_path):
    anchored = {"latent_prediction_type": {"name": "anchors", "count": 5}}
    model = stirred_model("continuous", **IDS, **anchored)
    with torch.no_grad():
        model.latent_anchors.points.normal_(generator=torch.Generator().manual_seed(0))
    texts = [{"input_ids": torch.tensor([one % 2] * 12)} for one in range(6)]
    drawn = dict(make_gallery.of_latents(LaddPipeline(model), texts, "co", "co-ladd", tmp_path))
    assert list(drawn) == ["co-codes.png", "co-latents.png"] and {path.name for path in tmp_path.iterdir()} == set(
        drawn
    )
    assert drawn["co-latents.png"].startswith("The anchors of co-ladd, each as large as its use")


def test_long_commands_are_folded_before_flags_and_stay_the_same():
    command = "python x.py " + " ".join(f"--flag_{one} 'a b' value" for one in range(20))
    lines = folded(command).split(" \\\n")
    assert len(lines) > 3 and all(len(line) <= 118 and line.startswith("    --flag") for line in lines[1:])
    assert shlex.split(" ".join(lines)) == shlex.split(command) and folded("python x.py") == "python x.py"


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["{run}/nowhere", "--data", "sawtooth"], "nowhere has no results.json; give an output folder"),
        (["{run}", "--data", "sawtooth", "lm1b"], "--data names 2 corpora for 1 runs; name one"),
        (["{run}", "--data", "sawtooth", "--evaluations", "{run}/di-ladd/scheduler/none"], "has no results"),
        (["{run}", "--data", "sawtooth", "--num_steps", "0"], "--num_steps is 0"),
        (["{run}", "--data", "sawtooth", "--pictures", "{run}/results.json"], "is a file, not a folder"),
    ],
)
def test_what_cannot_be_drawn_is_refused_in_a_line(flags, said, folder, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["make_gallery.py"])
    with pytest.raises(SystemExit) as stop:
        make_gallery.main([one.replace("{run}", str(folder / "vector")) for one in flags])
    assert stop.value.code == 2 and said in capsys.readouterr().err
