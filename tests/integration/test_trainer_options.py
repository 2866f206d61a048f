"""Every option of transformers' Trainer is kept, without meaning here, or refused with a sentence.

A new version of transformers with an option that is not in these tables fails the tests.
"""

from __future__ import annotations

import dataclasses
import gc
import inspect
import re
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.training import logged, one_stage, texts, two_stages
from transformers import Trainer, TrainingArguments

TESTS = Path(__file__).parents[1]

# Training with this value differs from training without it.
CHANGES_TRAINING = {
    "per_device_train_batch_size": 4,
    "learning_rate": 1e-2,
    "lr_scheduler_type": "cosine",
    "optim": "adafactor",
    "weight_decay": 0.5,
    "adam_beta1": 0.5,
    "adam_beta2": 0.5,
    "adam_epsilon": 1e-2,
    "gradient_accumulation_steps": 2,
    "max_grad_norm": 1e-3,
    "bf16": True,
    "neftune_noise_alpha": 5.0,
    "seed": 7,
    "data_seed": 7,
    "train_sampling_strategy": "sequential",
}
# A run with this value has the same losses, weights and bound to the bit.
CHANGES_NOTHING = {
    "average_tokens_across_devices": False,  # of one process; of several test_trainer_distributed.py
    "torch_empty_cache_steps": 1,
    "activation_checkpointing": True,
    "logging_first_step": True,
    "log_on_each_node": False,
    "logging_nan_inf_filter": True,  # what is no number stops the run before
    "include_num_input_tokens_seen": "non_padding",
    "log_level": "error",
    "log_level_replica": "error",
    "eval_strategy": "epoch",
    "eval_delay": 1,
    "prediction_loss_only": True,
    "eval_on_start": True,
    "eval_do_concat_batches": False,
    "eval_use_gather_object": True,
    "eval_accumulation_steps": 1,
    "per_device_eval_batch_size": 3,
    "save_only_model": True,
    "save_on_each_node": True,
    "use_cache": True,
    "ignore_data_skip": True,
    "restore_callback_states_from_checkpoint": True,
    "accelerator_config": {"even_batches": False, "non_blocking": True},
    "dataloader_drop_last": True,
    "dataloader_num_workers": 1,
    "dataloader_in_order": False,
    "remove_unused_columns": True,
    "skip_memory_metrics": False,
    "do_train": True,
    "do_eval": True,
    "do_predict": True,
    "disable_tqdm": True,
    "run_name": "mine",
    "project": "mine",
    "length_column_name": "size",
    "label_names": ["labels"],
}

# What is refused, and the sentence that says so.
REFUSED = {
    "label_smoothing_factor": (0.1, "`label_smoothing_factor` is 0.1, but the loss is the diffusion objective"),
    "use_liger_kernel": (True, "`use_liger_kernel` is True, but Liger has no kernels for this model"),
    "fp16": (True, "`fp16` is True, but a CPU does not train in mixed float16: set `bf16`"),
}

# What has a test of its own.
TESTED = {
    "output_dir": "test_trainer_stopping.py::test_a_checkpoint_can_be_moved_and_renamed",
    "num_train_epochs": "test_single_options.py::test_a_run_by_epochs_has_as_many_steps",
    "max_steps": "test_trainer.py::test_every_kind_trains_and_logs_the_parts_of_its_loss",
    "warmup_steps": "test_single_options.py::test_the_best_weights_are_those_of_the_lowest_bound",
    "lr_scheduler_kwargs": "test_single_options.py::test_the_best_weights_are_those_of_the_lowest_bound",
    "dataloader_persistent_workers": "test_trainer_options.py::"
    "test_each_evaluation_set_has_its_own_figure_where_workers_persist",
    "batch_eval_metrics": "test_compute_metrics.py::test_batch_by_batch_it_finds_the_same_bound",
    "include_for_metrics": "test_compute_metrics.py::test_it_is_given_the_nats_and_the_scored_tokens_of_each_text",
    "bf16_full_eval": "test_single_options.py::test_evaluation_in_half_precision_leaves_the_weights_as_they_are",
    "fp16_full_eval": "test_single_options.py::test_evaluation_in_half_precision_leaves_the_weights_as_they_are",
    "activation_checkpointing_kwargs": "test_single_options.py::test_reentrant_checkpointing_trains_the_same_adapters",
    "torch_compile": "test_single_options.py::test_a_compiled_model_trains_as_it_does_uncompiled",
    "torch_compile_backend": "test_single_options.py::test_a_compiled_model_trains_as_it_does_uncompiled",
    "auto_find_batch_size": "test_single_options.py::test_a_batch_size_that_was_found_is_as_one_that_was_given",
    "logging_strategy": "test_single_options.py::test_without_logs_a_run_learns_the_same",
    "logging_steps": "test_trainer.py::test_a_log_of_several_steps_is_the_mean_of_their_logs",
    "eval_steps": "test_single_options.py::test_the_best_weights_are_those_of_the_lowest_bound",
    "save_strategy": "test_single_options.py::test_the_best_weights_are_those_of_the_lowest_bound",
    "save_steps": "test_trainer_stopping.py::test_a_resumed_run_ends_where_the_whole_run_ends_to_the_bit",
    "save_total_limit": "test_single_options.py::test_the_best_weights_are_those_of_the_lowest_bound",
    "push_to_hub": "hub/test_trainer_pushes.py",
    "hub_model_id": "hub/test_trainer_pushes.py",
    "hub_strategy": "hub/test_trainer_pushes.py",
    "hub_always_push": "hub/test_trainer_pushes.py",
    "load_best_model_at_end": "test_single_options.py::test_the_best_weights_are_those_of_the_lowest_bound",
    "metric_for_best_model": "test_single_options.py::test_the_best_weights_are_those_of_the_lowest_bound",
    "greater_is_better": "test_single_options.py::test_metrics_of_the_bound_are_better_where_lower",
    "use_cpu": "test_trainer.py::test_every_kind_trains_and_logs_the_parts_of_its_loss",
    "ddp_find_unused_parameters": "test_training_args.py",
    "ddp_backend": "test_trainer_distributed.py",
    "fsdp": "examples/test_accelerate_configs.py",
    "deepspeed": "test_sharding.py",
    "report_to": "test_sample_reports.py::test_texts_and_a_plot_are_in_tensorboards_files",
    "resume_from_checkpoint": "test_single_options.py::test_the_checkpoint_of_the_arguments_is_resumed",
    "parallelism_config": "test_trainer_options.py::test_sequences_and_tensors_are_not_split_over_devices",
}

# What another part of transformers does, on hardware or services that no test has, and nothing here changes.
LEFT_TO_TRANSFORMERS = {
    "optim_target_modules": "layer-wise optimisers of other packages (GaLore, APOLLO)",
    "optim_args": "arguments of those and other optimisers",
    "tf32": "kernels of a GPU",
    "gradient_checkpointing": "the old name of activation_checkpointing",
    "gradient_checkpointing_kwargs": "the old name of activation_checkpointing_kwargs",
    "torch_compile_mode": "a mode of the inductor backend",
    "liger_kernel_config": "of use_liger_kernel, which is refused",
    "trackio_space_id": "one of these services",
    "trackio_bucket_id": "one of these services",
    "trackio_static_space_id": "one of these services",
    "enable_jit_checkpoint": "saves where the machine is about to be taken away, by the trainer's own saving",
    "hub_private_repo": "a setting of the repository",
    "hub_token": "a setting of the repository",
    "hub_revision": "a setting of the repository",
    "full_determinism": "deterministic kernels of a GPU, for the whole process",
    "dataloader_pin_memory": "memory of a GPU's host",
    "dataloader_prefetch_factor": "how far workers read ahead",
    "dataloader_multiprocessing_context": "how workers start",
    "ddp_bucket_cap_mb": "how gradients are sent",
    "ddp_broadcast_buffers": "how buffers are sent",
    "ddp_static_graph": "how gradients are sent",
    "ddp_timeout": "how long processes wait",
    "fsdp_config": "of fsdp",
    "debug": "prints what overflows",
    "local_rank": "set by the launcher",
}

TRAINER = {
    "model": "test_trainer.py::test_every_kind_trains_and_logs_the_parts_of_its_loss",
    "args": "test_trainer.py::test_every_kind_trains_and_logs_the_parts_of_its_loss",
    "data_collator": "test_trainer.py::test_texts_with_fewer_tokens_than_latents_are_refused_where_they_become_batches",
    "train_dataset": "test_trainer.py::test_a_model_learns_what_it_is_shown",
    "eval_dataset": "test_evaluation_counts.py",
    "processing_class": "test_trainer.py::test_a_tokenizer_with_another_mask_token_is_refused",
    "compute_metrics": "test_compute_metrics.py::test_it_is_given_the_nats_and_the_scored_tokens_of_each_text",
    "model_init": "test_hyperparameter_search.py",
    "callbacks": "test_trainer.py::test_behind_it_the_average_begins_anew",
    "optimizers": "test_averaging_optimisers.py::test_averaging_optimisers_are_refused_beside_an_average",
    "optimizer_cls_and_kwargs": "test_averaging_optimisers.py::test_an_averaging_optimiser_is_evaluated_at_its_average",
}
REFUSED_TRAINER = {
    "compute_loss_func": (lambda *args, **kwargs: 0.0, "`compute_loss_func` is given, but the loss is the diffusion"),
    "preprocess_logits_for_metrics": (lambda *args: None, "`preprocess_logits_for_metrics` is given, but evaluation"),
}

EVERY_TABLE = (CHANGES_TRAINING, CHANGES_NOTHING, REFUSED, TESTED, LEFT_TO_TRANSFORMERS)


def test_every_training_argument_of_transformers_is_in_one_table():
    names = [name for table in EVERY_TABLE for name in table]
    assert len(names) == len(set(names))
    assert set(names) == {field.name for field in dataclasses.fields(TrainingArguments)}


def test_every_argument_of_transformers_trainer_is_in_one_table():
    names = [*TRAINER, *REFUSED_TRAINER]
    assert set(names) == set(inspect.signature(Trainer.__init__).parameters) - {"self"} and len(names) == len(
        set(names)
    )


@pytest.mark.parametrize("place", sorted({*TESTED.values(), *TRAINER.values()}))
def test_the_tests_that_the_tables_name_are_there(place):
    file, _, name = place.partition("::")
    (path,) = TESTS.rglob(file)
    assert not name or re.search(rf"^def {name}\(", path.read_text(encoding="utf-8"), re.MULTILINE)
    options = [option for table in (TESTED, TRAINER) for option, where in table.items() if where == place]
    assert name or all(option in path.read_text(encoding="utf-8") for option in options)


# --- the tables ---


def run(make_trainer, name, **options):
    """Losses of a short run on texts of equal length, its weights, and the bound it ends with."""
    trainer = make_trainer("discrete", name, data=texts(24), eval_data=texts(7, seed=1), max_steps=3, **options)
    trainer.train()
    weights = {key: weight.clone() for key, weight in trainer.model.state_dict().items()}
    return logged(trainer), weights, trainer.evaluate()["eval_loss"]


@pytest.fixture(scope="module")
def kept():
    return {}


@pytest.fixture
def plain(make_trainer, kept):
    """The run without any of the options, once."""
    if not kept:
        kept["run"] = run(make_trainer, "plain")
    return kept["run"]


@pytest.mark.parametrize("name", CHANGES_TRAINING)
def test_options_of_training_are_kept(name, make_trainer, plain):
    losses, weights, bound = run(make_trainer, "other", **{name: CHANGES_TRAINING[name]})
    assert any(not torch.equal(weight, weights[key]) for key, weight in plain[1].items())
    assert all(np.isfinite(losses)) and bound != plain[2]


@pytest.mark.parametrize("part", range(4))
def test_options_of_anything_else_leave_training_and_the_bound_alone(part, make_trainer, plain):
    names = list(CHANGES_NOTHING)[part::4]  # several at once, for they do not meet
    losses, weights, bound = run(make_trainer, "other", **{name: CHANGES_NOTHING[name] for name in names})
    assert losses == plain[0]
    assert not [key for key, weight in plain[1].items() if not torch.equal(weight, weights[key])]
    assert bound == pytest.approx(plain[2], rel=1e-6), "batches of other sizes round otherwise"


@pytest.mark.parametrize("name", REFUSED)
def test_options_that_can_not_be_kept_are_refused(name, make_trainer):
    value, message = REFUSED[name]
    with pytest.raises(ValueError, match=re.escape(message)) as caught:
        make_trainer("none", **{name: value})
    assert str(caught.value).endswith(".") and "\n" not in str(caught.value)


@pytest.mark.parametrize("name", REFUSED_TRAINER)
def test_callables_that_would_not_be_called_are_refused(name, make_trainer):
    value, message = REFUSED_TRAINER[name]
    with pytest.raises(ValueError, match=re.escape(message)):
        make_trainer("none", trainer_options={name: value})


def test_batches_of_unequal_sizes_are_refused(make_trainer):
    with pytest.raises(ValueError, match=r"`train_sampling_strategy` is .*batch_rebalance.* give 'random'"):
        make_trainer("none", train_sampling_strategy="batch_rebalance")


def test_callables_that_are_set_later_are_refused_too(make_trainer):
    trainer = make_trainer("none", eval_data=texts(2))
    trainer.preprocess_logits_for_metrics = lambda logits, labels: logits
    for run in (trainer.train, trainer.evaluate):
        with pytest.raises(ValueError, match="`preprocess_logits_for_metrics` is given, but evaluation computes the"):
            run()


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("ema_decay", 1.5, "`ema_decay` is 1.5; give a decay"),
        ("stages", two_stages(1.5), r"`stages\[0\]`: `steps` is 1.5; give a number of steps"),
        ("stages", one_stage(5, delay=3.0), r"`stages\[0\]`: `delay` is 3.0; give a share"),
    ],
)
def test_arguments_that_are_set_later_are_checked_where_training_begins(name, value, message, make_trainer):
    trainer = make_trainer("discrete")
    setattr(trainer.args, name, value)
    with pytest.raises(ValueError, match=message):
        trainer.train()


@pytest.fixture
def workers_end(monkeypatch):
    """Ends persistent workers: where another test collects the garbage, it waits 5 seconds for each of them."""
    yield
    monkeypatch.setattr("torch.utils.data._utils.MP_STATUS_CHECK_INTERVAL", 0.1)
    gc.collect()


@pytest.mark.usefixtures("workers_end")
@pytest.mark.parametrize("workers", [0, 1])
def test_each_evaluation_set_has_its_own_figure_where_workers_persist(workers, make_trainer):
    options = {"dataloader_num_workers": workers, "dataloader_persistent_workers": bool(workers)}
    sets = {"a": texts(4), "b": texts(4, seed=5)}
    trainer = make_trainer("discrete", eval_data=sets["a"], **options)
    alone = {name: make_trainer("discrete", name, eval_data=one).evaluate()["eval_loss"] for name, one in sets.items()}
    assert trainer.evaluate()["eval_loss"] == alone["a"] != alone["b"]
    assert trainer.evaluate(sets["b"], metric_key_prefix="eval_other")["eval_other_loss"] == alone["b"]
    assert trainer.evaluate()["eval_loss"] == alone["a"]
    both = trainer.evaluate(sets)
    assert (both["eval_a_loss"], both["eval_b_loss"]) == (alone["a"], alone["b"])


def test_sequences_and_tensors_are_not_split_over_devices(make_trainer):
    from types import SimpleNamespace

    from ladd_hf.training.trainer_checks import check_options

    args = make_trainer("none").args
    for name in ("tp", "cp", "sp"):
        args.parallelism_config = SimpleNamespace(**{f"{name}_size": 2})
        with pytest.raises(ValueError, match=r"`parallelism_config` is .* cannot be split over devices"):
            check_options(args, {})
    args.parallelism_config = SimpleNamespace(tp_size=1, cp_size=1, sp_size=1)
    check_options(args, {})


@pytest.mark.skipif(torch.accelerator.is_available(), reason="memory is pinned for a device")
def test_where_no_device_is_nothing_warns_of_pinned_memory(make_trainer):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        trainer = make_trainer("none", eval_data=texts(8), use_cpu=False)
        trainer.train()
        trainer.evaluate()
    assert not [str(one.message) for one in caught if "pin_memory" in str(one.message)]
    assert not trainer.args.dataloader_pin_memory
