"""A trainer pushes what it would publish, during and after training, with a card that is true and can be used."""

from __future__ import annotations

import json
import re

import pytest
from helpers.training import assert_same
from huggingface_hub import ModelCard
from safetensors.torch import load

TRAIN = """
import sys, torch
from safetensors.torch import save_file
from conftest import _model
from helpers.sampling import tiny_tokenizer
from helpers.training import averaged_weights, texts
from ladd_hf import LaddTrainer, LaddTrainingArguments
from transformers import TrainerCallback

class Keep(TrainerCallback):
    def on_step_end(self, args, state, control, **kwargs):
        weights = {name: value.clone().contiguous() for name, value in averaged_weights(trainer).items()}
        save_file(weights, f"{args.output_dir}/../average-{state.global_step}.safetensors")

arguments = LaddTrainingArguments(
    sys.argv[1], use_cpu=True, max_steps=4, save_steps=2, logging_steps=1, learning_rate=3e-3, ema_decay=0.9,
    per_device_train_batch_size=8, eval_strategy="steps", eval_steps=4, disable_tqdm=True, report_to="none",
    push_to_hub=True, hub_model_id="tester/trained", hub_strategy=sys.argv[2], hub_always_push=True, nelbo_samples=1,
)
trainer = LaddTrainer(
    _model("discrete"), arguments, train_dataset=texts(), eval_dataset=texts(8, seed=1),
    processing_class=tiny_tokenizer(),
)
trainer.add_callback(Keep())
trainer.train()
trainer.push_to_hub(dataset="random letters")
"""


@pytest.fixture(scope="module")
def trained(hub, run, tmp_path_factory):
    """The folder of a run that pushed checkpoints, and the commits it made: message and files."""
    folder = tmp_path_factory.mktemp("trained")
    run(TRAIN, folder / "run", "checkpoint")
    commits = [(hub.state.messages.get(oid, ""), files) for oid, files in hub.state.commits["tester/trained"]]
    return folder, commits


def test_during_training_the_average_is_pushed_and_the_checkpoint_beside_it(trained):
    folder, commits = trained
    for step in (2, 4):
        ((_, files),) = [one for one in commits if one[0] == f"Training in progress, step {step}"]
        average = load((folder / f"average-{step}.safetensors").read_bytes())
        pushed = load(files["model.safetensors"])
        assert_same(pushed, {name: average[name] for name in pushed})
        ((_, files),) = [one for one in commits if one[0] == f"Training in progress, step {step}, checkpoint"]
        assert {"last-checkpoint/ema.safetensors", "last-checkpoint/optimizer.pt"} <= set(files)
        plain = load(files["last-checkpoint/model.safetensors"])
        assert plain["token_head.proj.bias"].tolist() != average["token_head.proj.bias"].tolist()


def test_after_training_the_repository_holds_the_average_its_code_tokenizer_and_card(trained):
    folder, commits = trained
    files = commits[-1][1]
    average = load((folder / "average-4.safetensors").read_bytes())
    pushed = load(files["model.safetensors"])
    assert_same(pushed, {name: average[name] for name in pushed})
    assert {"modeling_ladd.py", "configuration_ladd.py", "tokenizer.json", "README.md"} <= set(files)


def test_every_push_of_the_trainer_takes_along_what_a_models_own_does(trained, pushed, hub):
    expected = hub.state.at("tester/model", "main")[1]  # of the same kind
    code = {name: data for name, data in expected.items() if name.endswith(".py")}
    commits = [files for message, files in trained[1] if "model.safetensors" in files]
    assert len(commits) >= 4  # at two steps, the model and its checkpoint, and at the end
    for files in commits:
        assert {name: data for name, data in files.items() if name.endswith(".py") and "/" not in name} == code
        assert json.loads(files["config.json"])["auto_map"] == json.loads(expected["config.json"])["auto_map"]


def test_the_card_tells_of_the_run(trained):
    card = ModelCard(trained[1][-1][1]["README.md"].decode())
    for text in (
        "Di-LADD trained on random letters",
        "| steps | 4 |",
        "| EMA decay | 0.9 |",
        "| seed | 42 |",
        "After 4 s",
    ):
        assert text in card.text
    (result,) = card.data.eval_results
    assert result.metric_type == "bound_on_nats_per_token" and result.metric_value > 0
    assert result.metric_args["seed"] == 42 and result.metric_args["dtype"] == "float32"


def test_the_example_on_the_card_runs_as_it_stands(trained, run):
    (example,) = re.findall(r"```python\n(.*?)```", trained[1][-1][1]["README.md"].decode(), re.DOTALL)
    assert 'from_pretrained("tester/trained")' in example
    assert len(eval(run(example.replace("print(", 'print("texts:", '))["texts"])) == 4
