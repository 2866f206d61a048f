"""The shipped configurations of `accelerate launch`, by accelerate's own loader, and in use."""

from __future__ import annotations

import json
import os
import runpy
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml
from accelerate.commands.config.config_args import load_config_from_file
from accelerate.commands.launch import _validate_launch_command, launch_command_parser
from accelerate.utils import DistributedType
from helpers.quickly import QUICKLY
from safetensors.torch import load_file

import ladd_hf
from ladd_hf import LaddForDiffusionLM, LaddPipeline
from ladd_hf.models.transformer import LaddBlock

FOLDER = Path(__file__).resolve().parents[3] / "examples" / "accelerate"
KINDS = {
    "one_process": DistributedType.NO,
    "multi_gpu": DistributedType.MULTI_GPU,
    "multi_cpu": DistributedType.MULTI_GPU,
    "fsdp2": DistributedType.FSDP,
    "deepspeed_zero2": DistributedType.DEEPSPEED,
}

# as of accelerate 1.15.0 FSDP is for GPUs alone, and nothing says so: let it take these processes for some
AS_GPUS = """
import ladd_hf
from accelerate.state import DistributedType, PartialState

start = PartialState.__init__

def as_gpus(self, *args, **kwargs):
    start(self, *args, **kwargs)
    if self._shared_state["distributed_type"] == DistributedType.MULTI_CPU:
        self._shared_state["distributed_type"] = DistributedType.MULTI_GPU

PartialState.__init__ = as_gpus
"""

TRAIN = """
import json, sys
import torch
from ladd_hf import (
    LaddForDiffusionLM, LaddJointScheduler, LaddSequentialScheduler, LaddTrainer, LaddTrainingArguments, LogSamples,
)
from ladd_hf.metrics import OneStepDecoding

folder, name, batch_size = sys.argv[1], sys.argv[2], int(sys.argv[3])
args = LaddTrainingArguments(
    f"{folder}/{name}", use_cpu="--use_cpu" in sys.argv, disable_tqdm=True, save_strategy="steps", save_steps=1,
    max_steps=2, stages=[{"name": "encoder", "steps": 1}, "prior"],
    per_device_train_batch_size=batch_size, per_device_eval_batch_size=2,
    optim="sgd", learning_rate=0.05, lr_scheduler_type="constant", ema_decay=0.9,
    consistency_weight=0.5, logging_steps=1, eval_on_start=True,
    measures=["code_usage", "latent_usefulness"], measured_texts=5,
)
data = torch.load(f"{folder}/data.pt")
model = LaddForDiffusionLM.from_pretrained(f"{folder}/model")
watch = OneStepDecoding(torch.stack([row["input_ids"] for row in data[:6]]))
def total(ids):
    return {"total": float((ids * torch.arange(1, ids.numel() + 1).view_as(ids)).sum())}

schedulers = {"joint": LaddJointScheduler(), "hitting": LaddSequentialScheduler(unmasking="first_hitting")}
samples = LogSamples([2, 30], 5, schedulers, total)
trainer = LaddTrainer(model, args, train_dataset=data, eval_dataset=data[:7], callbacks=[watch, samples])
trainer.train()
metrics = trainer.evaluate()
bound = metrics["eval_loss"]
trainer.save_model(f"{folder}/{name}-model")
trainer.save_pipeline(f"{folder}/{name}-pipeline")
decoded = [entry for entry in trainer.state.log_history if "decoded_true" in entry]
if args.process_index == 0:
    decoded = [[entry[f"decoded_{name}"] for name in ("true", "shuffled", "none")] for entry in decoded]
    sampled = [{k: v for k, v in entry.items() if k.endswith("_total")} for entry in trainer.state.log_history]
    sampled = [entry for entry in sampled if entry]
    facts = {"bound": bound, "sampled": sampled, "decoded": decoded}
    facts["measured"] = {k: v for k, v in metrics.items() if "codes_" in k or "latents_" in k}
    facts |= {"processes": args.world_size, "sharded": trainer.is_fsdp_enabled}
    open(f"{folder}/{name}.json", "w").write(json.dumps(facts))
trainer.accelerator.wait_for_everyone()
"""


def test_every_configuration_that_is_shipped_is_tested():
    assert {path.stem for path in FOLDER.glob("*.yaml")} == set(KINDS)


@pytest.mark.parametrize("name", KINDS)
def test_accelerate_reads_it_and_knows_all_of_its_fields(name):
    config = load_config_from_file(str(FOLDER / f"{name}.yaml"))
    assert config.distributed_type == KINDS[name]
    assert config.num_processes == (1 if name == "one_process" else 2)
    assert config.use_cpu == (name == "multi_cpu")


@pytest.mark.parametrize("name", KINDS)
def test_the_launcher_accepts_it(name):
    parser = launch_command_parser()
    args, defaults, _ = _validate_launch_command(
        parser.parse_args(["--config_file", str(FOLDER / f"{name}.yaml"), "script.py"])
    )
    assert defaults.distributed_type == KINDS[name]
    assert (args.use_fsdp, args.use_deepspeed) == (name == "fsdp2", name == "deepspeed_zero2")
    if name == "fsdp2":
        assert int(args.fsdp_version) == 2 and args.fsdp_state_dict_type == "FULL_STATE_DICT"


def test_the_blocks_that_are_sharded_are_the_models():
    config = yaml.safe_load((FOLDER / "fsdp2.yaml").read_text())["fsdp_config"]
    assert config["fsdp_transformer_layer_cls_to_wrap"] == LaddBlock.__name__
    assert LaddForDiffusionLM._no_split_modules == [LaddBlock.__name__]


EXAMPLES = """
import os, sys
sys.path.insert(0, os.environ["EXAMPLES"])
import finetune_lora, train_ladd

folder, few = sys.argv[1], ["--max_steps", "2", "--per_device_train_batch_size", "4", "--optim", "sgd"]
train_ladd.main([
    *few, "--num_samples", "4", "--budgets", "2", "--num_eval_sequences", "4",
    "--output_dir", f"{folder}/job",
])
PartialState().wait_for_everyone()
texts = "--length 16 --latent_length 4 --codebook_size 20 --hidden_size 32 --num_hidden_layers 1 --baseline false"
train_ladd.main([
    f"{os.environ['EXAMPLES']}/configs/python-docs-di.yaml", "--data", f"{folder}/texts", *texts.split(), *few,
    "--stages", '{"mdlm": null, "encoder": {"steps": 1}}', "--warmup_steps", "0", "--logging_steps", "1",
    "--num_samples", "4", "--budgets", "2", "--num_eval_sequences", "4", "--output_dir", f"{folder}/texts-job",
])
PartialState().wait_for_everyone()
few += ["--eval_sequences", "4", "--pipeline", f"{folder}/job/di-ladd"]
finetune_lora.main([*few, "--learning_rate", "0.1", "--output_dir", f"{folder}/lora"])
finetune_lora.main([*few, "--full", "--output_dir", f"{folder}/full"])
"""


@pytest.fixture(scope="module")
def folder(stirred_model, tmp_path_factory):
    """A model, data, the script that trains it, and what one process has made of it."""
    folder = tmp_path_factory.mktemp("accelerate")
    stirred_model("discrete").save_pretrained(folder / "model")
    texts = torch.randint(1, 10, (32, 12), generator=torch.Generator().manual_seed(0))
    torch.save([{"input_ids": row} for row in texts], folder / "data.pt")
    (folder / "texts").mkdir()
    for split in ("train", "validation"):
        (folder / "texts" / f"{split}.txt").write_text("\n".join(f"{n} cats sat on a mat" for n in range(40)))
    for name, script in {"train": TRAIN, "shard": AS_GPUS + TRAIN, "examples": AS_GPUS + EXAMPLES}.items():
        (folder / f"{name}.py").write_text(script)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["train.py", str(folder), "one", "8", "--use_cpu"])
        runpy.run_path(str(folder / "train.py"))
    return folder


def launch(config: str, script: Path, *arguments: object) -> None:
    """Runs a script on the two processes of a configuration."""
    environment = dict(os.environ, OMP_NUM_THREADS="1", CUDA_VISIBLE_DEVICES="", EXAMPLES=str(FOLDER.parent))
    environment["PYTHONPATH"] = str(Path(ladd_hf.__file__).parents[1])
    launcher = ("-m", "accelerate.commands.launch", "--config_file", FOLDER / f"{config}.yaml")
    options = ("--main_process_port", 0, "--mixed_precision", "no")
    command = [sys.executable, *launcher, *options, QUICKLY, script, *arguments]
    run = subprocess.run(list(map(str, command)), env=environment, capture_output=True, text=True, timeout=300)
    assert run.returncode == 0, run.stderr[-3000:]


def facts(folder: Path, name: str) -> dict:
    return json.loads((folder / f"{name}.json").read_text())


def assert_same_as_one(folder: Path, name: str) -> None:
    start = load_file(folder / "model" / "model.safetensors")
    for place in ("model", "pipeline/model"):
        one, two = (load_file(folder / f"{run}-{place}" / "model.safetensors") for run in ("one", name))
        assert one.keys() == two.keys() and any(not torch.equal(one[key], start[key]) for key in one)
        for key, weight in one.items():
            torch.testing.assert_close(two[key], weight, atol=1e-5, rtol=1e-4, msg=key)


@pytest.mark.parametrize(("config", "script", "sharded"), [("multi_cpu", "train", False), ("fsdp2", "shard", True)])
def test_two_processes_average_evaluate_and_save_what_one_does(config, script, sharded, folder):
    launch(config, folder / f"{script}.py", folder, config, 4)  # half a batch each
    found = facts(folder, config)
    assert found["processes"] == 2 and found["sharded"] == sharded
    alone = facts(folder, "one")
    assert found["bound"] == pytest.approx(alone["bound"], rel=1e-4)
    assert len(found["measured"]) == 46 and found["measured"] == pytest.approx(alone["measured"], rel=1e-3, abs=1e-5)
    assert len(found["sampled"]) == 2 and found["sampled"] == alone["sampled"]
    assert len(found["decoded"]) == 2 and found["decoded"] == alone["decoded"]
    assert_same_as_one(folder, config)


def test_the_examples_save_weights_that_are_sharded_as_whole_ones(folder):
    launch("fsdp2", folder / "examples.py", folder)
    for place, length in {"job/mdlm": 32, "job/di-ladd": 32, "full/pipeline": 32, "texts-job/di-ladd": 16}.items():
        assert LaddPipeline.from_pretrained(folder / place)(num_steps=2, batch_size=2).sequences.shape == (2, length)
    log = json.loads((folder / "texts-job" / "results.json").read_text())["log"]["ladd"]
    assert len([entry for entry in log if "decoded_true" in entry]) == 2
    LaddPipeline.from_pretrained(folder / "job" / "di-ladd").load_lora_weights(folder / "lora" / "adapter")
    adapter = load_file(folder / "lora" / "adapter" / "adapter_model.safetensors")
    assert any(weight.any() for name, weight in adapter.items() if ".lora_B." in name), "it started at zero"
