"""The shipped configurations of `accelerate launch`, by accelerate's own loader, and in use."""

from __future__ import annotations

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
from safetensors.torch import load_file

import ladd_hf
from ladd_hf import LaddForDiffusionLM
from ladd_hf.two_stream_transformer import LaddBlock

FOLDER = Path(__file__).resolve().parents[2] / "examples" / "accelerate"
KINDS = {
    "one_process": DistributedType.NO,
    "multi_gpu": DistributedType.MULTI_GPU,
    "multi_cpu": DistributedType.MULTI_GPU,
    "fsdp2": DistributedType.FSDP,
    "deepspeed_zero2": DistributedType.DEEPSPEED,
}

TRAIN = """
import os, sys
import torch
from ladd_hf import LaddForDiffusionLM, LaddTrainer, LaddTrainingArguments

folder, batch_size, on_cpu = sys.argv[1], int(sys.argv[2]), "--use_cpu" in sys.argv
args = LaddTrainingArguments(
    f"{folder}/run", disable_tqdm=True, save_strategy="no", max_steps=2, per_device_train_batch_size=batch_size,
    optim="sgd", learning_rate=0.05, lr_scheduler_type="constant", ema_decay=0.9, use_cpu=on_cpu,
)
trainer = LaddTrainer(
    LaddForDiffusionLM.from_pretrained(f"{folder}/model"), args, train_dataset=torch.load(f"{folder}/data.pt")
)
trainer.train()
trainer.save_model(f"{folder}/trained-{args.world_size}")
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


@pytest.mark.slow
def test_two_processes_of_the_cpu_s_configuration_train_what_one_trains(stirred_model, tmp_path, monkeypatch):
    stirred_model("discrete").save_pretrained(tmp_path / "model")
    texts = torch.randint(1, 10, (32, 12), generator=torch.Generator().manual_seed(0))
    torch.save([{"input_ids": row} for row in texts], tmp_path / "data.pt")
    (tmp_path / "train.py").write_text(TRAIN)
    environment = dict(os.environ, OMP_NUM_THREADS="1", CUDA_VISIBLE_DEVICES="")
    environment["PYTHONPATH"] = str(Path(ladd_hf.__file__).parents[1])
    launcher = ("-m", "accelerate.commands.launch", "--config_file", FOLDER / "multi_cpu.yaml")
    command = [sys.executable, *launcher, "--main_process_port", 0, tmp_path / "train.py", tmp_path, 4]
    run = subprocess.run(list(map(str, command)), env=environment, capture_output=True, text=True, timeout=300)
    assert run.returncode == 0, run.stderr[-3000:]
    monkeypatch.setattr(sys, "argv", ["train.py", str(tmp_path), "8", "--use_cpu"])
    runpy.run_path(str(tmp_path / "train.py"))
    one, two = (load_file(tmp_path / f"trained-{count}" / "model.safetensors") for count in (1, 2))
    start = load_file(tmp_path / "model" / "model.safetensors")
    assert any(not torch.equal(one[name], start[name]) for name in one)
    for name, weight in one.items():
        torch.testing.assert_close(two[name], weight, atol=1e-5, rtol=1e-4, msg=name)
