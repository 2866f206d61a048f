"""Two processes train what one process with twice the batch trains. Run by torchrun, this file is the training."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from datasets import Dataset
from helpers.quickly import QUICKLY
from helpers.training import two_stages
from safetensors.torch import load_file, save_file

import ladd_hf
from ladd_hf import LaddForDiffusionLM, LaddTrainer, LaddTrainingArguments, LogSamples
from ladd_hf.training.checkpoint_writing import ASIDE
from ladd_hf.training.checkpoints import defect_of, manifest_of

TWO_STAGES = {"stages": two_stages(2, fully_masked_share=0.5), "encoder_corruption": 0.5}
RUNS = {
    "none": {"save_strategy": "steps", "save_steps": 2},
    "discrete": {**TWO_STAGES, "gradient_accumulation_steps": 2},
    "checkpointed": {
        **TWO_STAGES,
        "activation_checkpointing": True,
        "consistency_weight": 0.5,
        "consistency_teacher": "model",
    },
    "vector": TWO_STAGES,
    "uneven": {"latent_dropout": 0.5, "gradient_accumulation_steps": 2, "consistency_weight": 0.5},
    "apart": {"average_tokens_across_devices": False},
}
RANKS = ((1, 0), (2, 0), (2, 1))
STREAMS = [(7, 2), (9, 3), (5, 4), (8, 2)]  # rows, and texts of a batch
KINDS = {"checkpointed": "discrete", "uneven": "continuous", "apart": "none"}


def uneven(number: int, tokens: torch.Tensor) -> dict[str, torch.Tensor]:
    """A text of 4 to 12 tokens; in every second one only the last is no context."""
    tokens = tokens[: 4 + number * 5 % 9]
    context = torch.arange(len(tokens)) < (len(tokens) - 1 if number % 2 else 0)
    return {"input_ids": tokens, "labels": tokens.masked_fill(context, -100)}


def train(folder: Path, name: str, batch_size: int, report: str = "", **options: Any) -> None:
    """Trains the model saved in `folder / name` for four steps; writes what each rank has learnt and logged, as that of
    `report`, if it is not of `name`."""
    # The arguments come first: they start the process group that the codebook has to know of.
    args = LaddTrainingArguments(
        str(folder / f"{name}-run-{batch_size}"),
        use_cpu=True,
        ddp_backend="gloo" if "RANK" in os.environ else None,
        disable_tqdm=True,
        logging_steps=1,
        max_steps=4,
        per_device_train_batch_size=batch_size,
        per_device_eval_batch_size=2,
        optim="sgd",
        learning_rate=0.05,
        lr_scheduler_type="constant",
        ema_decay=0.9,
        **{"save_strategy": "no", **RUNS[name], **options},
    )
    model = LaddForDiffusionLM.from_pretrained(folder / name)
    data = torch.load(folder / "data.pt")
    if name in ("uneven", "apart"):  # texts of many lengths, some of them with a prompt
        data = [uneven(number, row["input_ids"]) for number, row in enumerate(data)]
    trainer = LaddTrainer(model, args, train_dataset=data, eval_dataset=data[:7])
    trainer.train()
    metrics = trainer.evaluate()
    rank = f"{report or name}-{args.world_size}-{args.process_index}"
    learnt = dict(model.state_dict()) | {f"average {i}": w for i, w in enumerate(trainer.ema.average.shadow_params)}
    save_file({key: value.clone() for key, value in learnt.items()}, folder / f"{rank}.safetensors")
    history = [entry for entry in trainer.state.log_history if "loss" in entry]
    (folder / f"{rank}.json").write_text(json.dumps({"history": history, "bound": metrics["eval_loss"]}))


class Counted:
    """Counts the texts and sums the tokens that `compute_metrics` is given, at once or batch by batch."""

    def __init__(self) -> None:
        self.texts, self.tokens = 0, 0

    def __call__(self, prediction: Any, compute_result: bool = True) -> dict[str, float]:
        self.texts += len(prediction.predictions)
        self.tokens += int(prediction.label_ids.sum())
        return {"texts": self.texts, "tokens": self.tokens} if compute_result else {}


def evaluate_streams(folder: Path) -> None:
    """Writes the bound of streams, read by the first process for all or shared by their processes, and rows counted,
    also by metrics of the user."""
    model, data, found = LaddForDiffusionLM.from_pretrained(folder / "discrete"), torch.load(folder / "data.pt"), {}
    for rows, batch in STREAMS:
        stream = Dataset.from_list([{"input_ids": row["input_ids"].tolist()} for row in data[:rows]])
        for dispatched, by_batch in ((True, False), (False, False), (True, True), (False, True)):
            args = LaddTrainingArguments(
                str(folder / "streams"),
                use_cpu=True,
                ddp_backend="gloo" if "RANK" in os.environ else None,
                disable_tqdm=True,
                per_device_eval_batch_size=batch,
                accelerator_config={"dispatch_batches": dispatched},
                batch_eval_metrics=by_batch,
            )
            output = LaddTrainer(model, args, compute_metrics=Counted()).predict(stream.to_iterable_dataset())
            counted = len(output.predictions), *(output.metrics[f"test_{name}"] for name in ("texts", "tokens"))
            found[f"{rows} by {batch} {dispatched} {by_batch}"] = [*counted, output.metrics["test_loss"]]
    (folder / f"streams-{args.world_size}-{args.process_index}.json").write_text(json.dumps(found))


def total(ids: torch.Tensor) -> dict[str, float]:
    """A score that tells samples apart, of the first process alone."""
    assert os.environ.get("RANK", "0") == "0"
    return {"total": float((ids * torch.arange(1, ids.numel() + 1).view_as(ids)).sum())}


def evaluate_samples(folder: Path) -> None:
    """Writes the samples of evaluations, of equal and of several lengths; their number is not divided evenly. Writes
    the measures of the model on a set and on a stream as well."""
    found, data = {}, torch.load(folder / "data.pt")
    for lengths in (None, {"4": 1, "9": 2}):
        model = LaddForDiffusionLM.from_pretrained(folder / "discrete", text_lengths=lengths)
        args = LaddTrainingArguments(
            str(folder / "samples"),
            use_cpu=True,
            ddp_backend="gloo" if "RANK" in os.environ else None,
            disable_tqdm=True,
            per_device_eval_batch_size=2,
        )
        for number in (1, 7):
            watch = LogSamples([2, 5], number, score=total, show=7)
            trainer = LaddTrainer(model, args, eval_dataset=data[:3], callbacks=[watch])
            metrics = {name: value for name, value in trainer.evaluate().items() if name.endswith("_total")}
            texts = {str(budget): rows for budget, rows in watch.last.texts[""].items()}
            found[f"{number} {lengths}"] = [metrics, texts]
    (folder / f"samples-{args.world_size}-{args.process_index}.json").write_text(json.dumps(found))
    args.measures, args.measured_texts, measured = ["code_usage", "latent_usefulness"], 5, {}
    stream = Dataset.from_list([{"input_ids": row["input_ids"].tolist()} for row in data[:7]]).to_iterable_dataset()
    for name, texts in (("set", data[:9]), ("stream", stream)):
        metrics = LaddTrainer(LaddForDiffusionLM.from_pretrained(folder / "discrete"), args).evaluate(texts)
        measured[name] = {key: one for key, one in metrics.items() if "codes_" in key or "latents_" in key}
    (folder / f"measures-{args.world_size}-{args.process_index}.json").write_text(json.dumps(measured))


def resume(folder: Path) -> None:
    """Goes on with two processes' run `none`, whose last checkpoint has lost a file, and another unfinished."""
    run = folder / "none-run-8"
    if os.environ["RANK"] == "0":
        (run / "checkpoint-4" / "rng_state_1.pth").unlink()
        (run / ASIDE / "checkpoint-3").mkdir(parents=True)
    torch.distributed.barrier()
    train(folder, "none", batch_size=8, report="resumed", resume_if_exists=True)


def launch(folder: Path) -> None:
    environment = dict(os.environ, OMP_NUM_THREADS="1", CUDA_VISIBLE_DEVICES="")
    paths = (Path(__file__).resolve().parents[1], Path(ladd_hf.__file__).parents[1])  # helpers, and the package
    environment["PYTHONPATH"] = os.pathsep.join(map(str, paths))
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2", QUICKLY]
    run = subprocess.run(
        [*torchrun, __file__, str(folder)], env=environment, capture_output=True, text=True, timeout=300, check=False
    )
    assert run.returncode == 0, run.stderr[-5000:]


@pytest.fixture(scope="module")
def results(stirred_model, tiny_model, tmp_path_factory):
    """Final results of each rank of two, and of a single process: `results[name][world_size, rank]`."""
    folder = tmp_path_factory.mktemp("distributed")
    for name in RUNS:
        build = tiny_model if name == "vector" else stirred_model  # with k-means still to come
        build(KINDS.get(name, name)).save_pretrained(folder / name)
    generator = torch.Generator().manual_seed(0)
    texts = torch.randint(1, 10, (64, 12), generator=generator)
    torch.save([{"input_ids": row} for row in texts], folder / "data.pt")
    launch(folder)
    for name in RUNS:
        train(folder, name, batch_size=16)
    evaluate_streams(folder)
    evaluate_samples(folder)
    evaluated = {
        name: {(world, rank): json.loads((folder / f"{name}-{world}-{rank}.json").read_text()) for world, rank in RANKS}
        for name in ("streams", "samples", "measures")
    }
    return (
        evaluated
        | {
            name: {
                (world, rank): (
                    load_file(folder / f"{name}-{world}-{rank}.safetensors"),
                    json.loads((folder / f"{name}-{world}-{rank}.json").read_text()),
                )
                for world, rank in RANKS
            }
            for name in RUNS
        }
        | {"resumed": load_file(folder / "resumed-2-1.safetensors"), "folder": folder}
    )


@pytest.mark.parametrize("name", ["none", "discrete", "checkpointed", "uneven"])
def test_two_processes_log_the_losses_of_one_with_twice_the_batch(name, results):
    one, two = (results[name][world, 0][1]["history"] for world in (1, 2))
    assert len(one) == len(two) == 4
    terms = {"token_loss", "latent_loss", "consistency_loss"} & set(one[0])
    assert ("consistency_loss" in terms) == (name in ("checkpointed", "uneven"))
    for term in ("loss", *sorted(terms)):
        assert [e[term] for e in two] == pytest.approx([e[term] for e in one], abs=1e-4), term


@pytest.mark.parametrize("name", ["none", "discrete", "checkpointed", "uneven"])
def test_two_processes_end_with_the_weights_of_one_with_twice_the_batch(name, results):
    one, two = results[name][1, 0][0], results[name][2, 0][0]
    start = one["model.embed_tokens.weight"]
    assert one.keys() == two.keys() and start.isfinite().all()
    for key, weight in one.items():
        torch.testing.assert_close(two[key], weight, atol=1e-5, rtol=1e-4, msg=f"{name}: {key}")


@pytest.mark.parametrize("name", RUNS)
def test_both_processes_end_with_the_same_weights_and_codebook(name, results):
    first, second = (results[name][2, rank][0] for rank in (0, 1))
    assert first.keys() == second.keys()
    assert not [key for key in first if not torch.equal(first[key], second[key])]
    if name == "vector":
        assert first["quantizer.quantize._codebook.initted"]
        assert first["quantizer.quantize._codebook.embed"].unique(dim=1).shape[1] > 1


@pytest.mark.parametrize("name", ["none", "discrete"])
def test_two_processes_find_the_bound_that_one_finds(name, results):
    bounds = [results[name][key][1]["bound"] for key in ((1, 0), (2, 0), (2, 1))]
    assert bounds == pytest.approx([bounds[0]] * 3, rel=1e-4)


def test_unless_each_process_is_to_count_for_itself(results):
    one, two = (results["apart"][world, 0][1]["history"] for world in (1, 2))
    assert [e["loss"] for e in two] != pytest.approx([e["loss"] for e in one], abs=1e-3)


@pytest.mark.parametrize(("rows", "batch"), STREAMS)
def test_streams_count_each_text_once_however_processes_share_them(rows, batch, results):
    alone = results["streams"][1, 0][f"{rows} by {batch} True False"]
    assert alone[:2] == [rows, rows]
    for key in RANKS:
        for how in ("True False", "False False", "True True", "False True"):
            *counted, bound = results["streams"][key][f"{rows} by {batch} {how}"]
            assert counted == alone[:3], (key, how)
            assert bound == pytest.approx(alone[3], rel=1e-5), key


def test_samples_are_the_same_for_any_number_of_processes(results):
    alone = results["samples"][1, 0]
    assert len({json.dumps(found) for found in alone.values()}) == 4
    for metrics, texts in alone.values():
        assert metrics.keys() == {"eval_samples_2_total", "eval_samples_5_total"} and texts["2"] != texts["5"]
    assert {len(row.split()) for row in alone["7 {'4': 1, '9': 2}"][1]["2"]} == {4, 9}
    assert results["samples"] == dict.fromkeys(RANKS, alone)


def test_measures_of_the_model_are_the_same_for_any_number_of_processes(results):
    alone = results["measures"][1, 0]
    assert alone["set"].keys() == alone["stream"].keys() and len(alone["set"]) == 2 * (3 + 4 * 5)
    for key in RANKS:
        assert results["measures"][key] == {name: pytest.approx(one, rel=1e-4, abs=1e-6) for name, one in alone.items()}


def test_two_processes_save_whole_checkpoints_and_go_on_from_the_last_one(results):
    run = results["folder"] / "none-run-8"
    assert not (run / ASIDE).exists()
    for name in ("checkpoint-2", "checkpoint-4"):
        assert defect_of(run / name) is None
        assert {"rng_state_0.pth", "rng_state_1.pth"} < manifest_of(run / name)["files"].keys()
    through = results["none"][2, 1][0]
    assert results["resumed"].keys() == through.keys()
    assert not [key for key, weight in through.items() if not torch.equal(results["resumed"][key], weight)]


if __name__ == "__main__":
    for run_name in RUNS:
        train(Path(sys.argv[1]), run_name, batch_size=8)
    evaluate_streams(Path(sys.argv[1]))
    evaluate_samples(Path(sys.argv[1]))
    resume(Path(sys.argv[1]))
