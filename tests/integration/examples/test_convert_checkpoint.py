"""The command that converts the authors' checkpoints."""

from __future__ import annotations

import json
import runpy
import sys
from pathlib import Path

import pytest
import torch
from helpers.dit_networks import MDLM, stirred

from ladd_hf import LaddForDiffusionLM

SCRIPT = Path(__file__).resolve().parents[3] / "examples" / "convert_checkpoint.py"


@pytest.fixture(scope="module")
def mdlm():
    return stirred(MDLM())


@pytest.fixture(scope="module")
def checkpoint(mdlm, tmp_path_factory):
    path = tmp_path_factory.mktemp("run") / "last.ckpt"
    averaged = [2 * weight.detach() for weight in mdlm.parameters()]
    state = {f"model.{name}": weight for name, weight in mdlm.state_dict().items()}
    torch.save({"state_dict": state, "ema_state_dict": {"shadow_params": averaged}}, path)
    return path


@pytest.fixture
def run(monkeypatch, capsys):
    """`run(*arguments)`: exit status, and what is printed."""

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", [str(SCRIPT), *map(str, arguments)])
        monkeypatch.syspath_prepend(SCRIPT.parent)  # as it is where the script is run
        try:
            runpy.run_path(str(SCRIPT), run_name="__main__")
        except SystemExit as exit:
            return exit.code, capsys.readouterr().err
        return 0, capsys.readouterr().out

    return run


def test_it_saves_a_model_that_predicts_the_same(run, mdlm, checkpoint, tmp_path):
    (tmp_path / "settings.yaml").write_text(
        "max_position_embeddings: 30\nweights: last\ntoken_time_conditioning: false\n"
    )
    output = tmp_path / "ours"
    code, printed = run(checkpoint, output, "--config", tmp_path / "settings.yaml", "--max_position_embeddings", 12)
    assert code == 0 and f"Saved in {output}: latents none" in printed
    model = LaddForDiffusionLM.from_pretrained(output)
    assert model.config.max_position_embeddings == 12
    tokens = torch.arange(10)[None]
    torch.testing.assert_close(model(tokens).logits[..., :10], mdlm(tokens)[..., :10], atol=1e-5, rtol=0)
    code, printed = run(checkpoint, output, "--max_position_embeddings", 12)
    assert code == 2 and "holds a model already" in printed


def test_it_tells_of_the_model_in_a_document(run, mdlm, checkpoint, tmp_path):
    settings = ("--max_position_embeddings", 12, "--token_time_conditioning", "false")
    code, printed = run(checkpoint, tmp_path / "ours", *settings, "--json")
    told = json.loads(printed)
    model = LaddForDiffusionLM.from_pretrained(told["output"])
    assert code == 0 and told["checkpoint"] == str(checkpoint)
    assert told["parameters"] == model.num_parameters() and told["latent_type"] == model.config.latent_type


def test_a_file_in_the_folders_place_is_refused_and_kept(run, checkpoint, tmp_path):
    (tmp_path / "ours").write_text("mine")
    code, printed = run(checkpoint, tmp_path / "ours", "--max_position_embeddings", 12)
    assert code == 2 and "ours is a file, not a folder to save in" in printed
    assert (tmp_path / "ours").read_text() == "mine"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--token_time_conditioning", "false"), "does not tell `max_position_embeddings`"),
        (("--token_time_conditioning", "no", "--max_position_embeddings", 12, "--hidden_size", 32), "contradicts"),
        (("--weights", "first"), "invalid choice"),
        (("--config", "nowhere.yaml"), "nowhere.yaml is not a file"),
        (("--max_position_embeddings", "abc"), "`max_position_embeddings` is 'abc'; give a whole number"),
        (("--max_position_embeddings", "1.5"), "`max_position_embeddings` is 1.5; give a whole number"),
        (("--max_position_embeddings", "0"), "`max_position_embeddings` is 0; give a whole number of at least 1"),
        (("--max_position_embeddings", ".nan"), "`max_position_embeddings` is nan; give a whole number"),
        (("--token_noise_schedule", "[linear]"), "`token_noise_schedule` is ['linear']; give a text"),
        (("--token_time_conditioning", "abc"), "`token_time_conditioning` is 'abc'; give true or false"),
        (("--quantizer", "[a]"), "`quantizer` is ['a']; give"),
    ],
)
def test_what_is_wrong_is_said_in_a_sentence(run, arguments, message, checkpoint, tmp_path):
    code, printed = run(checkpoint, tmp_path / "ours", *arguments)
    assert code == 2 and message in printed
    assert not (tmp_path / "ours").exists()
