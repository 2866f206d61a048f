"""Whatever is given in place of what is accepted, the answer is one sentence that names the argument."""

from __future__ import annotations

import pytest
import torch
from diffusers import DDPMScheduler
from helpers.adapters import adapted, lora
from helpers.sampling import tiny_tokenizer
from helpers.training import texts
from transformers import BertConfig, BertForMaskedLM, TrainingArguments

from ladd_hf import (
    LaddForDiffusionLM,
    LaddJointScheduler,
    LaddPipeline,
    LaddScheduler,
    LaddSequentialScheduler,
    LaddTrainer,
    LaddTrainingArguments,
    RowGenerator,
    TimePath,
    TrainingObjective,
)
from ladd_hf.data import (
    LaddCollator,
    SawtoothDistribution,
    load_corpus,
    sawtooth_dataset,
    token_blocks,
)


class Anything:
    """An object of no use, which has the same name in every process."""

    def __repr__(self):
        return "<Anything>"


OBJECT, TOKENIZER = Anything(), tiny_tokenizer()


def foreign_model():
    sizes = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1, "intermediate_size": 8}
    return BertForMaskedLM(BertConfig(vocab_size=11, **sizes))


def assert_refused(call, name):
    """Checks for a `ValueError` or `TypeError` of one sentence that names the object: no failure from somewhere
    inside."""
    with pytest.raises((ValueError, TypeError)) as refusal:
        call()
    said = str(refusal.value)
    assert "\n" not in said and 20 < len(said) < 400 and said.rstrip().endswith((".", ")")), said
    assert name in said, said


def rows(table):
    """`(argument, wrong value, what the sentence names)` for each wrong value of each argument."""
    return [
        pytest.param(name, wrong, said, id=f"{name}-{wrong if isinstance(wrong, str | int | float) else type(wrong)}")
        for name, (said, *wrongs) in table.items()
        for wrong in wrongs
    ]


# --- the pipeline and its parts ---

PARTS = {
    "model": ("`model`", None, 3, "user/model", OBJECT, LaddForDiffusionLM, TOKENIZER, foreign_model),
    "scheduler": ("`scheduler`", 3, "joint", OBJECT, LaddJointScheduler, TOKENIZER, DDPMScheduler()),
    "tokenizer": ("tokenizer", 3, "user/model", OBJECT, LaddJointScheduler()),
}


def part(wrong):
    return wrong() if wrong is foreign_model else wrong


@pytest.mark.parametrize(("name", "wrong", "said"), rows(PARTS))
def test_what_is_no_part_of_a_pipeline_is_refused_given_or_assigned(stirred_model, name, wrong, said):
    model = stirred_model("discrete")
    assert_refused(lambda: LaddPipeline(**{"model": model, name: part(wrong)}), said)
    pipe = LaddPipeline(model, tokenizer=TOKENIZER)
    kept = dict(pipe.components)
    assert_refused(lambda: setattr(pipe, name, part(wrong)), said)
    assert all(pipe.components[part] is kept[part] for part in kept), "the pipeline is what it was"


def test_swapped_arguments_are_refused(stirred_model):
    assert_refused(lambda: LaddPipeline(stirred_model("none"), TOKENIZER), "`scheduler` is a TokenizersBackend")
    assert_refused(lambda: LaddPipeline(TOKENIZER, stirred_model("none")), "`model` is a TokenizersBackend")


def test_a_pipeline_always_has_a_scheduler_and_may_have_no_tokenizer(build_pipe):
    pipe = build_pipe("discrete")
    pipe.scheduler = None
    assert type(pipe.scheduler) is LaddJointScheduler
    pipe.tokenizer = None
    assert pipe(num_steps=2).texts is None


def test_a_tokenizer_that_is_assigned_later_is_saved(build_pipe, tmp_path):
    pipe = build_pipe("discrete")
    pipe.tokenizer = TOKENIZER
    pipe.save_pretrained(tmp_path)
    assert len(LaddPipeline.from_pretrained(tmp_path).tokenizer) == len(TOKENIZER)


def test_a_model_that_is_not_the_tokenizers_is_refused_where_it_writes(stirred_model):
    pipe = LaddPipeline(stirred_model("none"), tokenizer=TOKENIZER)
    pipe.model = stirred_model("none", vocab_size=12, mask_token_id=11)  # its tokenizer may come next
    assert_refused(lambda: pipe(num_steps=2), "The tokenizer's mask token has id 10")
    pipe.tokenizer = None
    assert pipe(num_steps=2, output_type="seq").texts is None


@pytest.mark.parametrize("wrap", ["get_peft_model", "add_adapter", "compile"])
def test_wrapped_models_are_accepted_when_they_are_assigned(stirred_model, wrap):
    pipe, model = LaddPipeline(stirred_model("discrete")), stirred_model("discrete")
    pipe.set_progress_bar_config(disable=True)
    pipe.model = (
        torch.compile(model, backend="eager") if wrap == "compile" else adapted(model, wrap, lora(["qkv_proj"]))
    )
    assert pipe(num_steps=2).sequences.shape == (1, 12)


@pytest.fixture
def build_pipe(stirred_model):
    def build(kind, tokenizer=None):
        pipe = LaddPipeline(stirred_model(kind), LaddSequentialScheduler(), tokenizer)
        pipe.set_progress_bar_config(disable=True)
        return pipe

    return build


# --- a call ---

CALL = {
    "prompt": ("prompt", 3, 2.5, OBJECT, [2.5], [None], [[1], "a"], {"ids": [1]}, [], torch.rand(2, 3)),
    "num_steps": ("`num_steps`", "4", 2.5, 0, True, [4], OBJECT),
    "batch_size": ("`batch_size`", "2", 2.5, 0, True, [2], OBJECT),
    "length": ("`length`", "long", 2.5, 0, [2.5], True, OBJECT),
    "generator": ("`generator`", 3, "seed", [3], OBJECT),
    "temperature": ("`temperature`", "hot", [1.0], -1, OBJECT),
    "top_p": ("`top_p`", "most", None, [0.5], 2, OBJECT),
    "guidance_scale": ("`guidance_scale`", "much", None, [1.0], float("nan"), OBJECT),
    "latents": (
        "`latents`",
        3,
        "zeros",
        [[1, 2, 3, 4]],
        torch.zeros(1, 4),
        torch.zeros(1, 3, dtype=torch.int64),
        OBJECT,
    ),
    "output_type": ("`output_type`", 3, "pil", OBJECT),
    "callback_on_step_end": ("`callback_on_step_end`", 3, "print", [print]),
    "callback_on_step_end_tensor_inputs": ("`callback_on_step_end_tensor_inputs`", 3, "tokens", ["logits"], [3], None),
    "strength": ("`strength`", "some", None, [0.5], 2, OBJECT),
    "suppress_tokens": ("`suppress_tokens`", "a", [2.5], [11], OBJECT),
    "logits_processor": ("`logits_processor`", 3, "top_k", [3], OBJECT),
    "stop_at_eos": ("`stop_at_eos`", True),
}


@pytest.mark.parametrize(("name", "wrong", "said"), rows(CALL))
def test_what_a_call_can_not_take_is_refused(build_pipe, name, wrong, said):
    pipe = build_pipe("discrete", TOKENIZER)
    assert_refused(lambda: pipe(**{"num_steps": 2, name: wrong}), said)


@pytest.mark.parametrize("wrong", [3, 2.5, OBJECT, [2.5], None, [None]], ids=str)
def test_what_is_no_text_has_no_latents_variations_or_way_to_another(build_pipe, wrong):
    pipe = build_pipe("discrete", TOKENIZER)
    for call in (pipe.encode, pipe.variations, lambda one: pipe.interpolate("abcd", one)):
        assert_refused(lambda call=call: call(wrong), "")


def returned(**changes):
    return lambda pipe, index, timestep, tensors: changes


@pytest.mark.parametrize(
    ("callback", "said"),
    [
        (lambda *given: 3, "returned 3"),
        (lambda *given: [torch.zeros(1)], "returned a list"),
        (returned(tokens=None), "`tokens` that are None"),
        (returned(tokens=[1] * 12), "`tokens` that are a list"),
        (returned(tokens=torch.ones(12, dtype=torch.int64)), r"shape (12,), torch.int64"),
        (returned(tokens=torch.ones(2, 12, dtype=torch.int64)), r"shape (2, 12), torch.int64"),
        (returned(tokens=torch.ones(1, 12)), "torch.float32"),
        (returned(tokens=torch.ones(1, 12, dtype=torch.int64, device="meta")), "on meta"),
        (returned(tokens=torch.full((1, 12), 11)), "`tokens` from 11 to 11; give ids from 0 to 10"),
        (returned(tokens=torch.full((1, 12), -1)), "`tokens` from -1 to -1"),
        (returned(latents=torch.zeros(1, 3, dtype=torch.int64)), "`latents` that are shape (1, 3)"),
        (returned(unmask=torch.ones(1, 12, dtype=torch.bool)), "returned 'unmask'"),
        (returned(logits=1), "returned 'logits'"),
    ],
)
def test_what_can_not_take_the_place_of_the_loops_tensors_is_refused(build_pipe, callback, said):
    assert_refused(lambda: build_pipe("discrete")(num_steps=3, callback_on_step_end=callback), said)


def test_latents_of_a_model_without_latents_are_refused(build_pipe):
    pipe = build_pipe("none")
    callback = returned(latents=torch.zeros(1, 4, dtype=torch.int64))
    assert_refused(
        lambda: pipe(num_steps=3, callback_on_step_end=callback), "returned `latents`, and this run has none"
    )


def test_a_callback_may_return_nothing_or_all_that_it_was_given(build_pipe):
    pipe, asked = build_pipe("discrete"), ["tokens", "latents", "unmask"]
    for callback in (lambda *given: None, lambda pipe, index, timestep, tensors: tensors):
        run = pipe(num_steps=4, callback_on_step_end=callback, callback_on_step_end_tensor_inputs=asked)
        assert run.sequences.shape == (1, 12)


# --- schedulers ---

SCHEDULER = {
    "timestep_spacing": ("timestep_spacing", 3, None, "even", ["uniform"]),
    "latent_solver": ("solver", 3, "euler", ["ddim"]),
    "unmasking": ("`unmasking`", 3, None, "random", ["entropy"]),
    "remasking": ("`remasking`", 3, None, "some", ["cap"]),
    "noise_process": ("`noise_process", 3, "linear", {"mask": 3}, {"mask_token_id": -1}, {"latent_type": None}),
    "path": ("ath", 3, None, "diagonal", [1, 0], [[1, 1], [2, 0]], "[[1", [[1, 0], [0, 0]]),
    "steps": ("`steps`", 3, "ab", [1, 2], [0], [-1], [float("nan")], ["a"]),
    "latent_share": ("`latent_share`", "half", None, 1, [0.5]),
    "max_latent_steps": ("`max_latent_steps`", "one", 0, 1.5, [1]),
}


@pytest.mark.parametrize(("name", "wrong", "said"), rows(SCHEDULER))
def test_what_a_scheduler_can_not_take_is_refused(name, wrong, said):
    kind = LaddScheduler if name in ("path", "steps") else LaddSequentialScheduler
    assert_refused(lambda: kind(**{name: wrong}), said)


@pytest.mark.parametrize("wrong", ["4", 2.5, 0, None, [4], True], ids=str)
def test_a_number_of_steps_that_is_none_is_refused(wrong):
    assert_refused(lambda: LaddJointScheduler(noise_process={"mask_token_id": 3}).set_timesteps(wrong), "`num_steps`")


# --- the trainer ---

TRAINER = {
    "model": ("`model`", None, 3, "folder", OBJECT, LaddForDiffusionLM, TOKENIZER, foreign_model),
    "args": ("`args`", 3, "out", OBJECT, {"output_dir": "out"}, LaddTrainingArguments, TrainingArguments),
    "data_collator": ("`data_collator`", 3, "pad", OBJECT, LaddCollator),
    "train_dataset": ("`train_dataset`", 3, "folder", OBJECT, {"train": []}, list),
    "eval_dataset": ("`eval_dataset", 3, "folder", OBJECT, {"one": 3}, list),
    "processing_class": ("`processing_class`", 3, "user/model", OBJECT, LaddJointScheduler()),
    "callbacks": ("`callbacks`", 3, "print", OBJECT, [3], [print], [None]),
}


@pytest.mark.parametrize(("name", "wrong", "said"), rows(TRAINER))
def test_what_a_trainer_can_not_be_made_of_is_refused(tiny_model, tmp_path, name, wrong, said):
    if wrong is TrainingArguments:
        wrong = TrainingArguments(str(tmp_path), use_cpu=True)
    given = {"model": tiny_model("none"), "args": LaddTrainingArguments(str(tmp_path), use_cpu=True)}
    assert_refused(lambda: LaddTrainer(**{**given, name: part(wrong)}), said)


def test_what_a_model_init_makes_is_looked_at_as_well(tmp_path):
    arguments = LaddTrainingArguments(str(tmp_path), use_cpu=True)
    assert_refused(lambda: LaddTrainer(args=arguments, model_init=foreign_model), "`model` is a BertForMaskedLM")


@pytest.mark.parametrize("wrap", ["get_peft_model", "add_adapter", "compile", "model_init"])
def test_wrapped_models_can_be_trained(tiny_model, tmp_path, wrap):
    model = tiny_model("none")
    arguments = LaddTrainingArguments(str(tmp_path), use_cpu=True)
    if wrap == "model_init":
        assert LaddTrainer(args=arguments, model_init=lambda: model).model is model
        return
    model = torch.compile(model, backend="eager") if wrap == "compile" else adapted(model, wrap, lora(["qkv_proj"]))
    LaddTrainer(model, arguments, train_dataset=texts())


NUMBERS = (
    *("token_loss_weight", "latent_loss_weight", "min_time", "time_shift", "fully_masked_share", "latent_dropout"),
    *("quantizer_dropout", "encoder_corruption", "encoder_mask_ratio", "contrastive_weight", "contrastive_mask_ratio"),
    *("contrastive_temperature", "conditional_independence_weight", "latent_kl_weight"),
    *("encoder_noise", "latent_noise_time", "latent_mask_share", "latent_replacement_share"),
    *("consistency_weight", "consistency_min_jump", "consistency_max_jump"),
    *("meanflow_share", "meanflow_time_std", "meanflow_start_share", "meanflow_damping", "meanflow_tangent"),
    *("ema_decay", "nelbo_samples"),
)
CHOICES = ("time_distribution", "token_weighting", "latent_weighting", "consistency_teacher", "meanflow_teacher")
SETTINGS = {
    **{name: (f"`{name}`", "much", None, [1], -5, float("nan")) for name in NUMBERS},
    **{name: (f"{name}`", 3, None, "other") for name in CHOICES},
    "stages": ("`stages`", 3, "encoder", {"encoder": {"steps": 3}}),
    "nelbo_paths": ("`nelbo_paths`", "joint", None, 3, [], [3]),
}


@pytest.mark.parametrize(("name", "wrong", "said"), rows(SETTINGS))
def test_what_a_setting_of_the_training_can_not_be_is_refused(tmp_path, name, wrong, said):
    assert_refused(lambda: LaddTrainingArguments(str(tmp_path), use_cpu=True, **{name: wrong}), said)


# --- batches ---

ROW = {"input_ids": [1, 2, 3]}


@pytest.mark.parametrize(
    ("examples", "said"),
    [
        (3, "A batch is 3"),
        ("text", "A batch is 'text'"),
        ([], "A batch is a list"),
        (["text"], "Example 0 of a batch is 'text'"),
        ([ROW, [1, 2, 3]], "Example 1 of a batch is a list"),
        ([ROW, {"text": "a"}], "Example 1 of a batch is the columns ['text']"),
        ([ROW, {"input_ids": []}], "Example 1 of a batch has no tokens"),
        ([ROW, {"input_ids": None}], "Example 1 of a batch has as `input_ids` None; give a list"),
        ([ROW, {"input_ids": 3}], "Example 1 of a batch has as `input_ids` 3; give a list"),
        ([{"input_ids": [1.5, 2.0]}], "'input_ids' holds torch.float64"),
        ([{"input_ids": ["a", "b"]}], "'input_ids'"),
        ([{**ROW, "labels": [1, 2, 3]}, ROW], "The column 'labels' is in some examples of a batch only"),
        ([ROW, {**ROW, "attention_mask": [1, 1, 1]}], "The column 'attention_mask' is in some"),
        ([ROW, {**ROW, "other": 1}], "The column 'other' is in some"),
        ([{**ROW, "labels": None}], "its 'labels' are None"),
        ([{**ROW, "labels": [1, 2]}], "has 3 `input_ids`, and its 'labels' are 2"),
        ([{**ROW, "attention_mask": [1, 1, 1, 1]}], "its 'attention_mask' are 4"),
        ([{**ROW, "labels": 1}], "its 'labels' are 1"),
    ],
)
@pytest.mark.parametrize("pad", [None, 0])
def test_what_makes_no_batch_is_refused(examples, said, pad):
    assert_refused(lambda: LaddCollator(pad)(examples), said)


# --- the rest of what is public ---


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: LaddForDiffusionLM(3), "config"),
        (lambda: LaddForDiffusionLM("folder"), "config"),
        (lambda: LaddForDiffusionLM(None), "config"),
        (lambda: LaddForDiffusionLM(foreign_model().config), "config"),
        (lambda: RowGenerator(3), "`keys`"),
        (lambda: RowGenerator([1, 2]), "`keys`"),
        (lambda: RowGenerator(torch.rand(3)), "`keys`"),
        (lambda: TimePath("joint"), "`vertices`"),
        (lambda: TimePath(3), "vertices"),
        (lambda: TimePath([(1, 1), 3]), "vertices"),
        (lambda: TrainingObjective(time_distribution=3), "`time_distribution`"),
        (lambda: SawtoothDistribution("long"), "`length`"),
        (lambda: SawtoothDistribution(0), "`length`"),
        (lambda: sawtooth_dataset("many"), "`num_sequences`"),
        (lambda: sawtooth_dataset(2.5), "`num_sequences`"),
        (lambda: load_corpus(3), "corpus"),
        (lambda: load_corpus(None), "corpus"),
        (lambda: load_corpus("text8", split=3), "split"),
        (lambda: token_blocks(3, TOKENIZER, 8), "`dataset`"),
        (lambda: token_blocks("text", TOKENIZER, 8), "`dataset`"),
        (lambda: token_blocks(texts(), 3, 8), "tokenizer"),
    ],
)
def test_other_calls_refuse_what_they_can_not_take(call, said):
    assert_refused(call, said)
