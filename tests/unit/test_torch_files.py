"""Files of torch from elsewhere: read without code of theirs; what is no such file, or damaged, is called so."""

from __future__ import annotations

import datetime
import os

import pytest
import torch
from helpers.dit_networks import MDLM, stirred

from ladd_hf.convert.lightning import convert_lightning
from ladd_hf.utils.torch_files import OtherObjectsError, check_weights, read_torch_file

CONTENT = {"state_dict": {"a": torch.arange(4000.0)}, "epoch": 3}


class Code:
    def __reduce__(self):
        return os.mkdir, ("ran",)


@pytest.fixture
def path(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path / "last.ckpt"


@pytest.mark.parametrize("zipped", [True, False], ids=["of today", "of the old format"])
def test_a_file_is_read_as_it_was_saved(zipped, path):
    torch.save(CONTENT, path, _use_new_zipfile_serialization=zipped)
    content = read_torch_file(path)
    assert content["epoch"] == 3 and torch.equal(content["state_dict"]["a"], CONTENT["state_dict"]["a"])


@pytest.mark.parametrize("zipped", [True, False], ids=["of today", "of the old format"])
@pytest.mark.parametrize(("thing", "name"), [(Code(), "mkdir"), (datetime.date(2020, 1, 1), "datetime.date")])
def test_objects_of_others_are_named_and_not_made(thing, name, zipped, path):
    torch.save({**CONTENT, "other": thing}, path, _use_new_zipfile_serialization=zipped)
    with pytest.raises(OtherObjectsError, match=name):
        read_torch_file(path)
    assert not os.path.exists("ran")


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"", "is no file of torch"),
        (b"The quick brown fox jumps over the lazy dog.\n" * 9, "is no file of torch"),
        (b"---\nlength: 12\n", "is no file of torch"),
        (b"\x80\x02}q\x00.", "is no file of torch"),
        (b"PK\x03\x04" + bytes(40), "it is cut off"),
        (b"PK\x05\x06" + bytes(18), "is damaged"),
    ],
    ids=["empty", "text", "YAML", "another pickle", "beginning of a zip", "an empty zip"],
)
def test_what_is_no_file_of_torch_is_called_so_and_nobody_is_told_to_trust_it(content, told, path):
    path.write_bytes(content)
    for read in (read_torch_file, convert_lightning):
        with pytest.raises(ValueError, match=told) as refusal:
            read(path)
        assert "weights_only" not in str(refusal.value) and str(path) in str(refusal.value)


@pytest.mark.parametrize("zipped", [True, False], ids=["of today", "of the old format"])
@pytest.mark.parametrize("share", [0.01, 0.3, 0.6, 0.9, 0.999])
def test_a_file_that_is_cut_off_is_called_damaged(share, zipped, path):
    torch.save(CONTENT, path, _use_new_zipfile_serialization=zipped)
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    for read in (read_torch_file, convert_lightning):
        with pytest.raises(ValueError, match=r"is damaged|is cut off") as refusal:
            read(path)
        assert "weights_only" not in str(refusal.value)


def test_a_path_that_is_no_file_is_called_so(tmp_path):
    for path in (tmp_path, tmp_path / "nowhere.ckpt"):
        with pytest.raises(OSError, match="is not a file"):
            read_torch_file(path)


@pytest.mark.parametrize(
    ("weight", "told"),
    [
        ("text", "no plain tensors: a"),
        (None, "no plain tensors: a"),
        (torch.ones(2, 2).to_sparse(), "no plain tensors: a"),
        (torch.ones(2, dtype=torch.complex64), "no plain tensors: a"),
        (torch.ones(2, device="meta"), "no plain tensors: a"),
        (torch.ones(1).expand(10**9, 10**6), "no plain tensors: a"),
        (torch.tensor([1.0, float("nan")]), "not finite: a"),
        (torch.tensor([1.0, -float("inf")]), "not finite: a"),
    ],
    ids=["text", "nothing", "sparse", "complex", "meta", "one number as many", "nan", "infinite"],
)
def test_weights_are_plain_tensors_of_finite_numbers(weight, told):
    with pytest.raises(ValueError, match=f"It has weights that are {told}"):
        check_weights({"b": torch.ones(2), "a": weight}, "It")
    with pytest.raises(ValueError, match="no plain tensors: 3"):
        check_weights({3: torch.ones(2)}, "It")
    check_weights({"a": torch.ones(2), "b": torch.arange(3), "c": torch.ones(4)[::2]}, "It")


# --- a network that is not what it seems ---

MDLM_OPTIONS = {"weights": "last", "max_position_embeddings": 12, "token_time_conditioning": False}


def lightning(path, change):
    state = {f"model.{name}": weight for name, weight in stirred(MDLM()).state_dict().items()}
    change(state)
    torch.save({"state_dict": state}, path)
    return path


@pytest.mark.parametrize("number", ["999999999", "2.5", "two", "01", "-1", "٣"])
def test_blocks_that_are_not_numbered_from_0_on_are_refused_at_once(number, path):
    def change(state):
        state[f"model.blocks.{number}.attn_qkv.weight"] = torch.ones(2, 2)

    lightning(path, change)
    with pytest.raises(ValueError, match=r"blocks `model.blocks.`, which are not numbered|does not fit the network"):
        convert_lightning(path, **MDLM_OPTIONS)


@pytest.mark.parametrize("shape", [(), (3,), (0, 0), (2, 2, 2), (20_000, 1), (1, 20_000)], ids=str)
@pytest.mark.parametrize("name", ["vocab_embed.embedding", "sigma_map.mlp.0.weight", "blocks.0.mlp.0.weight"])
def test_weights_that_sizes_are_read_from_have_a_shape_to_read(name, shape, path):
    lightning(path, lambda state: state.update({f"model.{name}": torch.ones(shape)}))
    with pytest.raises(ValueError, match=str(path)):
        convert_lightning(path, **MDLM_OPTIONS)


@pytest.mark.parametrize("average", [3, "text", {"decay": 0.9}, [1, 2], {"shadow_params": [None]}], ids=str)
def test_averages_that_are_none_are_refused(average, path):
    state = {f"model.{name}": weight for name, weight in stirred(MDLM()).state_dict().items()}
    torch.save({"state_dict": state, "ema_state_dict": average}, path)
    with pytest.raises(ValueError, match=r"no list of averaged weights|no plain tensors"):
        convert_lightning(path, **{**MDLM_OPTIONS, "weights": "averaged"})


@pytest.mark.parametrize("heads", [-2, 0, 3, "two", 1.5])
def test_heads_that_do_not_divide_the_hidden_size_are_refused(heads, path):
    lightning(path, lambda state: state.pop("model.rotary_emb.inv_freq"))
    with pytest.raises(ValueError, match=r"attention heads|`num_attention_heads` is .*; give a whole number"):
        convert_lightning(path, **MDLM_OPTIONS, num_attention_heads=heads)
