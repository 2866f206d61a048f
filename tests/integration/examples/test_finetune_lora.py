"""Fine-tuning of a saved pipeline, a few steps of it."""

from __future__ import annotations

import re
from types import SimpleNamespace

import pytest
import torch
from helpers.adapters import answers, differs
from helpers.corpora import byte_pairs
from helpers.examples import finetune_lora
from helpers.sampling import tiny_tokenizer
from peft import PeftModel
from safetensors.torch import load_file

from ladd_hf import LaddConfig, LaddPipeline
from ladd_hf.models.adapters import has_adapters

FEW = ("--max_steps", 3, "--per_device_train_batch_size", 4, "--eval_sequences", 6, "--use_cpu")


def finetune(*flags: object) -> None:
    """The script, in this process."""
    finetune_lora.main([str(flag) for flag in (*FEW, *flags)])


@pytest.fixture(scope="module")
def folder(stirred_model, tmp_path_factory):
    """A pipeline of sawtooths, one of texts, and texts."""
    folder = tmp_path_factory.mktemp("finetune")
    sawtooths = {"vocab_size": 3, "mask_token_id": 2, "pad_token_id": None}
    LaddPipeline(stirred_model("vector", **sawtooths)).save_pretrained(folder / "sawtooths")
    LaddPipeline(stirred_model("vector"), tokenizer=tiny_tokenizer()).save_pretrained(folder / "texts")
    (folder / "texts.txt").write_text("abcdefg\nabcd\n\nhi\n" * 8)
    return folder


def changed(before: torch.nn.Module, after: torch.nn.Module) -> set[str]:
    """The names of weights and buffers that two models do not share."""
    others = after.state_dict()
    return {name for name, value in before.state_dict().items() if not torch.equal(value, others[name])}


def test_an_adapter_is_trained_saved_alone_and_merged_into_a_pipeline(folder, tmp_path, capsys):
    finetune("--pipeline", folder / "sawtooths", "--output_dir", tmp_path / "out", "--merge", "--rank", 2)
    assert re.search(r"nats per token along joint: \d\.\d+ before, \d\.\d+ after", capsys.readouterr().out)
    saved = load_file(tmp_path / "out" / "adapter" / "adapter_model.safetensors")
    assert saved and all("lora_" in name and "encoder" not in name and "quantizer" not in name for name in saved)
    base = LaddPipeline.from_pretrained(folder / "sawtooths").model
    whole = LaddPipeline.from_pretrained(tmp_path / "out" / "pipeline").model
    assert not has_adapters(whole) and differs(answers(whole), answers(base))
    moved = changed(base, whole)
    assert moved and not any(name.startswith(("encoder", "quantizer")) for name in moved)
    found = answers(PeftModel.from_pretrained(base, tmp_path / "out" / "adapter").eval())
    torch.testing.assert_close(answers(whole)["logits"], found["logits"], atol=1e-5, rtol=0)


def test_texts_are_read_by_the_pipeline_s_tokenizer(folder, tmp_path, capsys):
    flags = ("--pipeline", folder / "texts", "--train_file", folder / "texts.txt", "--target_modules", "qkv_proj")
    finetune(*flags, "--output_dir", tmp_path / "out")
    assert "8 of 24 texts have fewer than 4 tokens, and are left out." in capsys.readouterr().out
    saved = load_file(tmp_path / "out" / "adapter" / "adapter_model.safetensors")
    assert saved and all(".qkv_proj.lora_" in name for name in saved)
    assert not (tmp_path / "out" / "pipeline").exists()


def test_texts_are_framed_as_the_pipeline_s_are_and_lengths_are_theirs_from_now_on(folder):
    tokenizer, file = byte_pairs(), folder / "texts.txt"
    config = LaddConfig(
        **{"vocab_size": len(tokenizer), "mask_token_id": 3, "pad_token_id": 0, "max_position_embeddings": 12},
        text_frame={"packing": "pad", "start": [1], "end": [2]},
        text_lengths={"12": 1},
    )
    rows = finetune_lora.texts(file, tokenizer, config)["input_ids"]
    lines = list(filter(None, file.read_text().splitlines()))
    plain = [tokenizer(line, add_special_tokens=False).input_ids[:10] for line in lines]
    assert [row.tolist() for row in rows] == [[1, *ids, 2] for ids in plain]
    run = finetune_lora.FinetuneArguments(pipeline="", train_file=str(file), eval_sequences=2)
    pipeline = SimpleNamespace(tokenizer=tokenizer, model=SimpleNamespace(config=config))
    finetune_lora.data(run, SimpleNamespace(seed=0), pipeline)
    assert sum(config.text_lengths.values()) == len(lines)


@pytest.mark.parametrize("train_encoder", [False, True])
def test_all_weights_are_trained_the_encoder_s_where_asked_for(folder, train_encoder, tmp_path):
    flags = ("--train_encoder",) if train_encoder else ()
    finetune("--pipeline", folder / "sawtooths", "--output_dir", tmp_path / "out", "--full", *flags)
    assert not (tmp_path / "out" / "adapter").exists()
    base = LaddPipeline.from_pretrained(folder / "sawtooths").model
    moved = changed(base, LaddPipeline.from_pretrained(tmp_path / "out" / "pipeline").model)
    assert "model.embed_tokens.weight" in moved
    assert any(name.startswith(("encoder", "quantizer")) for name in moved) == train_encoder


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("texts",), "the texts are sawtooths, of 3 tokens, and the model has"),
        (("sawtooths", "--train_file", "TEXTS"), "the pipeline has no tokenizer"),
        (("texts", "--train_file", "TEXTS", "--eval_sequences", 16), "There are 16 texts, and 16 are to be held out"),
        (("sawtooths", "--target_modules", "nowhere"), "No modules were targeted"),
    ],
)
def test_what_can_not_be_trained_is_refused_in_a_sentence(folder, flags, message, tmp_path):
    name, *more = (folder / "texts.txt" if flag == "TEXTS" else flag for flag in flags)
    with pytest.raises(SystemExit, match=message):
        finetune("--pipeline", folder / name, "--output_dir", tmp_path / "out", *more)


def test_a_rank_of_zero_is_refused(folder, capsys):
    with pytest.raises(SystemExit):
        finetune("--pipeline", folder / "sawtooths", "--rank", 0)
    assert "--rank is 0" in capsys.readouterr().err


@pytest.mark.parametrize(("flags", "held_out"), [((), 1), (("--eval_sequences", 5), 5)])
def test_how_many_texts_are_trained_on_is_told_and_on_the_cards(folder, tmp_path, capsys, flags, held_out):
    few = ("--max_steps", 1, "--per_device_train_batch_size", 4, "--use_cpu", "--merge", *flags)
    words = (folder / "texts", "--train_file", folder / "texts.txt", *few, "--output_dir", tmp_path / "out")
    finetune_lora.main([str(word) for word in words])
    lines = capsys.readouterr().out.splitlines()
    found = re.search(r"texts.txt: (\d+) texts to train on, (\d+) held out.", "\n".join(lines))
    assert (int(found[1]), int(found[2])) == (16 - held_out, held_out), "two of three lines are long enough"
    assert any(line.startswith("  step      1/1  ") for line in lines)
    for card in ("adapter", "pipeline"):
        text = (tmp_path / "out" / card / "README.md").read_text()
        assert f"texts.txt ({found[1]} texts), beginning with the weights of texts," in " ".join(text.split())
        assert f"texts.txt, {held_out} held-out texts" in " ".join(text.split())


@pytest.mark.parametrize("whole", [False, True])
def test_a_rounded_pipeline_is_trained_in_full_precision(folder, tmp_path, whole):
    pipe = LaddPipeline.from_pretrained(folder / "texts")
    pipe.model.bfloat16()
    pipe.save_pretrained(tmp_path / "half")
    how = ("--full",) if whole else ("--merge",)
    finetune(
        "--pipeline", tmp_path / "half", "--train_file", folder / "texts.txt", *how, "--output_dir", tmp_path / "out"
    )
    model = LaddPipeline.from_pretrained(tmp_path / "out" / "pipeline").model
    assert {weight.dtype for weight in model.parameters()} == {torch.float32}
