"""Latents that were stored beside the texts stand for the encoder wherever it would be asked."""

from __future__ import annotations

import shutil
import threading

import numpy as np
import pytest
import torch
from datasets import Dataset, IterableDataset, load_from_disk
from helpers.encoders import letters, save_encoder, word_pieces
from helpers.training import state_of
from transformers.models.bert.modeling_bert import BertLayer

from ladd_hf import TrainingNoise, TrainingObjective
from ladd_hf.data import LaddCollator, precompute_latents, token_blocks

KINDS = ("continuous", "vector")


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """A cache of datasets' for each test alone."""
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")
    return tmp_path / "cache"


@pytest.fixture
def encoder(tmp_path):
    return save_encoder(tmp_path / "encoder", "bert")


@pytest.fixture
def make_model(tiny_model, encoder):
    return lambda kind="continuous", **overrides: tiny_model(
        kind, **{"encoder_name_or_path": encoder, "quantizer_kmeans_init": False, **overrides}
    )


@pytest.fixture
def data():
    """32 texts of 7 to 12 tokens."""
    generator = torch.Generator().manual_seed(0)
    rows = torch.randint(1, 10, (32, 12), generator=generator).tolist()
    return Dataset.from_dict({"input_ids": [row[: 12 - i % 6] for i, row in enumerate(rows)]})


def batch_of(data, count=8):
    return LaddCollator(0)([data[i] for i in range(count)])


def loss_of(model, batch, **objective):
    inputs = {name: batch[name] for name in batch if name != "input_ids"}
    noise = TrainingNoise(0, torch.arange(len(batch["input_ids"])))
    options = {"objective": TrainingObjective(**objective), "noise": noise, "loss_only": True}
    return model(input_ids=batch["input_ids"], labels=batch["input_ids"], **inputs, **options)


@pytest.mark.parametrize("projection", ["cut", "learned"])
@pytest.mark.parametrize("kind", KINDS)
def test_loss_gradient_and_bound_are_those_of_the_encoder(kind, projection, make_model, data):
    model = make_model(kind, encoder_projection=projection, encoder_standardization=True)
    model.gather_latent_statistics(data)
    stored, plain = batch_of(precompute_latents(data, model, dtype="float32")), batch_of(data)
    assert stored["precomputed_latents"].shape == (8, 4 * (16 if projection == "learned" else 3))
    both = []
    for batch in (stored, plain):
        model.zero_grad()
        output = loss_of(model, batch, time_distribution="joint", latent_dropout=0.2)
        output.loss.backward()
        gradients = torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])
        options = {"num_samples": 2, "generator": torch.Generator().manual_seed(0)}
        bound = model.nelbo(**batch, **options)
        both.append((output.loss, gradients, bound.token_nats, bound.latent_nats))
    for one, other in zip(*both, strict=True):
        torch.testing.assert_close(one, other)
    assert len(gradients) > 1000 and output.loss > 0.1


@pytest.mark.parametrize("kind", KINDS)
def test_training_and_evaluation_never_see_the_encoder(kind, make_model, make_trainer, encoder, data):
    model = make_model(kind, encoder_standardization=True)
    stored = precompute_latents(data, model, dtype="float32")
    assert model.encoder.pretrained.network is None, "let go of again"
    runs = []
    for name, texts in (("with", data), ("without", stored)):
        if name == "without":
            shutil.rmtree(encoder)
        model = make_model(kind, encoder_standardization=True)
        trainer = make_trainer(model, name, data=texts, eval_data=texts, max_steps=3)
        trainer.train()
        assert (model.encoder.pretrained.network is None) == (name == "without")
        runs.append((state_of(trainer), trainer.evaluate()["eval_loss"]))
    (state, loss), (other_state, other_loss) = runs
    assert loss == pytest.approx(other_loss, rel=1e-4)
    assert state.keys() == other_state.keys()
    for name, value in state.items():
        torch.testing.assert_close(value, other_state[name], atol=1e-4, rtol=1e-3, msg=name)


def test_a_baseline_without_latents_trains_on_the_same_data(make_model, tiny_model, data):
    stored = precompute_latents(data, make_model())
    model = tiny_model("none")
    assert torch.equal(loss_of(model, batch_of(stored)).loss, loss_of(model, batch_of(data)).loss)


def test_half_precision_takes_half_the_room_and_the_room_is_stated(make_model, data, tmp_path):
    model = make_model(latent_length=4, latent_dim=16)
    sizes = {}
    for dtype, bytes_each in (("float16", 2), ("float32", 4)):
        stored = precompute_latents(data, model, dtype=dtype)
        assert f"32 texts, 4 x 16 {dtype}: 0.0 MB" in stored.info.description
        column = stored.select_columns(["precomputed_latents"])
        column.save_to_disk(tmp_path / dtype)
        sizes[dtype] = sum(file.stat().st_size for file in (tmp_path / dtype).glob("*.arrow"))
        assert 32 * 4 * 16 * bytes_each <= sizes[dtype] < 32 * 4 * 16 * bytes_each + 4096
        again = load_from_disk(str(tmp_path / dtype)).with_format("numpy")[:]["precomputed_latents"]
        np.testing.assert_array_equal(again, stored[:]["precomputed_latents"])
    whole = model.encode(torch.tensor([data[0]["input_ids"]])).vectors[0]
    half = torch.as_tensor(precompute_latents(data, model)[0]["precomputed_latents"]).view(4, 16)
    torch.testing.assert_close(half, whole, atol=1e-3, rtol=1e-3)


def test_rows_do_not_depend_on_the_batches_they_are_encoded_in(make_model, data):
    model = make_model()
    one, other = (
        precompute_latents(data, model, batch_size=size, dtype="float32")[:]["precomputed_latents"] for size in (1, 7)
    )
    np.testing.assert_allclose(one, other, atol=1e-5)


def test_a_streamed_data_set_is_encoded_as_it_is_read(make_model, data):
    model = make_model()
    streamed = precompute_latents(data.to_iterable_dataset(), model, batch_size=5, dtype="float32")
    assert isinstance(streamed, IterableDataset) and model.encoder.pretrained.network is None
    expected = precompute_latents(data, model, dtype="float32")[:]["precomputed_latents"]
    rows = list(streamed)
    assert [row["input_ids"] for row in rows] == data["input_ids"][:]
    np.testing.assert_allclose(np.stack([row["precomputed_latents"] for row in rows]), expected, atol=1e-5)


@pytest.fixture
def precomputed():
    """`precomputed(data, model)`: the column, and how many passes of the encoder it took."""

    def run(data, model):
        features, passes = model.encoder.features, []
        model.encoder.features = lambda *args: passes.append(1) or features(*args)
        return precompute_latents(data, model)[:]["precomputed_latents"], len(passes)

    return run


@pytest.mark.parametrize("place", ["on disk", "in memory"])
def test_what_was_computed_before_is_computed_again_only_for_another_encoder(
    place, make_model, data, precomputed, tmp_path
):
    data.save_to_disk(tmp_path / "data")
    texts = lambda: load_from_disk(str(tmp_path / "data"), keep_in_memory=place == "in memory")  # noqa: E731
    assert bool(texts().cache_files) == (place == "on disk")
    first, passes = precomputed(texts(), make_model())
    assert passes
    model = make_model()
    for _ in range(2):
        again, passes = precomputed(texts(), model)
        assert not passes and (again == first).all()
        model.encode_latents(torch.randint(1, 10, (1, 12)))  # which notes in the configuration what it finds
    for overrides in ({"latent_normalization": "unit"}, {"pad_token_id": 9}):
        assert precomputed(texts(), make_model(**overrides))[1]
    for settings in ({"layer_norm_eps": 0.1}, {"initializer_range": 0.5}):
        assert save_encoder(tmp_path / "encoder", "bert", **settings).endswith("encoder")
        other, passes = precomputed(texts(), make_model())
        assert passes and not np.allclose(other, first)


def test_other_texts_in_memory_are_not_taken_for_these(make_model, data, precomputed, cache):
    first, _ = precomputed(data, make_model())
    same, passes = precomputed(Dataset.from_dict({"input_ids": data["input_ids"][:]}), make_model())
    assert not passes and (same == first).all()
    reversed_, passes = precomputed(Dataset.from_dict({"input_ids": data["input_ids"][::-1]}), make_model())
    assert passes and np.allclose(reversed_, first[::-1], atol=2e-3)
    assert len(list((cache / "ladd_hf_latents").iterdir())) == 2


def test_what_was_computed_with_other_tokenizers_is_not_taken(make_model, data, precomputed, tmp_path):
    data.save_to_disk(tmp_path / "data")
    data = load_from_disk(str(tmp_path / "data"))
    own = word_pieces(["abc def ghi"], vocab_size=30)
    name = save_encoder(tmp_path / "own", "bert", own, vocab_size=40)

    def run(alphabet):
        model = make_model(encoder_name_or_path=name, encoder_tokenizer="own")
        model.set_tokenizer(letters(alphabet))
        return precomputed(data, model)

    first, passes = run("abcdefghi")
    assert passes and not run("abcdefghi")[1]
    other, passes = run("ihgfedcba")
    assert passes and not np.allclose(other, first)
    word_pieces(["ihg fed cba", "ba"], vocab_size=30).save_pretrained(name)
    other, passes = run("abcdefghi")
    assert passes and not np.allclose(other, first)


def test_what_a_hidden_token_was_read_as_is_not_forgotten(make_model, data, precomputed, tmp_path):
    hidden = data.map(lambda row: {"input_ids": [10, *row["input_ids"][1:]]})
    first, _ = precomputed(hidden, make_model(encoder_mask_token_id=3))
    assert not precomputed(hidden, make_model(encoder_mask_token_id=3))[1]
    other, passes = precomputed(hidden, make_model(encoder_mask_token_id=5))
    assert passes and not np.allclose(other, first)


def test_stored_latents_are_not_taken_from_an_encoder_that_does_not_read_the_ids(make_model, data, encoder):
    letters("ihgfedcba").save_pretrained(encoder)
    precompute_latents(data, make_model())  # nobody told it the model's tokenizer
    model = make_model()
    model.set_tokenizer(letters("abcdefghi"))
    with pytest.raises(ValueError, match="so they do not share their ids"):
        precompute_latents(data, model)


def test_nothing_is_computed_of_no_texts(make_model, data, encoder):
    shutil.rmtree(encoder)
    assert len(precompute_latents(data.select([]), make_model())) == 0


def test_statistics_come_from_stored_latents_without_the_encoder(make_model, data, encoder):
    model = make_model(encoder_standardization=True)
    model.gather_latent_statistics(data)
    stored = precompute_latents(data, model, dtype="float32")
    shutil.rmtree(encoder)
    other = make_model(encoder_standardization=True)
    other.gather_latent_statistics(stored)
    torch.testing.assert_close(other.encoder.statistics.mean, model.encoder.statistics.mean)
    torch.testing.assert_close(other.encoder.statistics.std, model.encoder.statistics.std)


@pytest.mark.parametrize("term", ["encoder_corruption", "encoder_mask_ratio", "contrastive_weight"])
def test_terms_that_hide_tokens_from_the_encoder_are_refused(term, make_model, data):
    model = make_model()
    batch = batch_of(precompute_latents(data, model))
    with pytest.raises(ValueError, match=f"`{term}` is 0.5, which hides tokens from the encoder"):
        loss_of(model, batch, **{term: 0.5})


def test_what_can_not_be_had_beforehand_is_refused(make_model, tiny_model, data):
    for model in (make_model(encoder_trained=True), tiny_model("continuous"), tiny_model("none")):
        with pytest.raises(ValueError, match="Only the latents of a fixed pretrained encoder can be had beforehand"):
            precompute_latents(data, model)
    blocks = token_blocks(Dataset.from_dict({"text": ["a"]}).to_iterable_dataset(), letters("abcdefghi"), 12)
    with pytest.raises(ValueError, match=r"cannot be stored beside a stream of blocks.*the encoder reads each batch"):
        precompute_latents(blocks, make_model())
    with pytest.raises(ValueError, match=r"beside a dict: give a `datasets.Dataset` .*, each split by itself"):
        precompute_latents({"train": data}, make_model())
    with pytest.raises(ValueError, match=r"have the columns 'text', and no `input_ids`: tokenize"):
        precompute_latents(Dataset.from_dict({"text": ["a"]}), make_model())
    with pytest.raises(ValueError, match=r"`dtype` is 'int8'; give one of float16, float32"):
        precompute_latents(data, make_model(), dtype="int8")
    tokens = torch.randint(1, 10, (2, 12))
    with pytest.raises(ValueError, match=r"The encoder is trained with the model"):
        tiny_model("continuous").encode(tokens, precomputed_latents=torch.zeros(2, 4, 3))
    for wrong in (torch.zeros(2, 4, 16), torch.zeros(2, 4, 3, dtype=torch.int64)):
        with pytest.raises(ValueError, match=r"`precomputed_latents` have shape .* of shape \(2, 4, 3\), or \(2, 12\)"):
            make_model().encode(tokens, precomputed_latents=wrong)


def test_numbers_too_large_for_half_precision_are_refused(make_model, data, tmp_path):
    model = make_model()
    with torch.no_grad():
        network = model.encoder.pretrained.on(model.device, model.dtype)
        network.encoder.layer[-1].output.LayerNorm.weight.fill_(1e6)
    with pytest.raises(ValueError, match=r"not finite in float16 \(up to .*give `dtype` 'float32'"):
        precompute_latents(data, model)
    assert np.isfinite(precompute_latents(data, model, dtype="float32")[:]["precomputed_latents"]).all()


def test_texts_with_fewer_tokens_than_latents_are_refused(make_model):
    data = Dataset.from_dict({"input_ids": [[1, 2, 3, 4], [1, 2, 3]]})
    with pytest.raises(ValueError, match=r"A text has 3 tokens, fewer than `latent_length` \(4\)"):
        precompute_latents(data, make_model())


def test_a_run_on_stored_latents_is_the_same_in_two_batches_as_in_one(make_model, make_trainer, data):
    stored = precompute_latents(data, make_model())
    runs = []
    for name, size, batches in (("whole", 8, 1), ("accumulated", 4, 2)):
        options = {"per_device_train_batch_size": size, "gradient_accumulation_steps": batches, "max_steps": 1}
        trainer = make_trainer(make_model(), name, data=stored, **options)
        trainer.train()
        runs.append(trainer.state.log_history[0]["latent_loss"])
    assert runs[0] == pytest.approx(runs[1], rel=1e-4)


def shifted(by):
    return lambda batch: {"input_ids": [[(one + by) % 9 + 1 for one in row] for row in batch["input_ids"]]}


@pytest.mark.parametrize("place", ["on disk", "in memory"])
def test_latents_are_those_of_the_rows_that_a_transform_gives(place, make_model, data, precomputed, tmp_path):
    data.save_to_disk(tmp_path / "data")
    data = load_from_disk(str(tmp_path / "data"), keep_in_memory=place == "in memory")
    plain, _ = precomputed(data, make_model())
    for by in (1, 2):
        rows = shifted(by)(data[:])["input_ids"]
        stored = precompute_latents(data.with_transform(shifted(by)), make_model())
        assert stored[:]["input_ids"] == rows, "the texts are those beside the latents"
        expected, _ = precomputed(Dataset.from_dict({"input_ids": rows}), make_model())
        np.testing.assert_array_equal(stored[:]["precomputed_latents"], expected)
        assert not np.allclose(expected, plain)


def test_what_another_code_of_the_encoder_gave_is_not_taken(make_model, data, precomputed, monkeypatch):
    def by(factor):
        class Scaled(BertLayer):
            def forward(self, hidden_states, *args, **options):
                return super().forward(hidden_states * factor, *args, **options)

        Scaled.__module__ = "own_networks"
        Scaled.__qualname__ = "Scaled"
        return Scaled

    found = []
    for factor, computed in ((1.0, True), (1.0, False), (2.0, True), (1.0, False)):
        with monkeypatch.context() as patch:
            patch.setattr("transformers.models.bert.modeling_bert.BertLayer", by(factor))
            values, passes = precomputed(data, make_model())
        assert bool(passes) == computed
        found.append(values)
    assert (found[0] == found[3]).all() and not np.allclose(found[0], found[2])


def test_latents_of_an_encoder_whose_code_has_no_name_are_computed_anew(make_model, data, precomputed, monkeypatch):
    lock = threading.Lock()

    class Locked(BertLayer):
        def forward(self, *args, **options):
            with lock:
                return super().forward(*args, **options)

    monkeypatch.setattr("transformers.models.bert.modeling_bert.BertLayer", Locked)
    first, again = (precomputed(data, make_model()) for _ in range(2))
    assert first[1] and again[1] and (first[0] == again[0]).all()
