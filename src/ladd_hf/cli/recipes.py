"""Settings of `train_ladd.py`, from a recipe and from flags over it, and checks of them."""

from __future__ import annotations

import copy
import inspect
import json
from dataclasses import dataclass, field, fields, make_dataclass
from pathlib import Path
from types import UnionType
from typing import Any, Literal, get_args, get_origin, get_type_hints

from ..data.held_out import check_share
from ..diffusion.paths import PathSpec
from ..evaluation.schedule_specs import SAVED, TUNED, ScheduleSpec, check_names
from ..metrics.schedule_tuning import tune_schedule
from ..models.configuration_ladd import MODEL_SIZES, LaddConfig
from ..models.encoders.encoder_options import pooling_of
from ..models.encoders.pooling import POOLINGS
from ..models.modeling_ladd import LaddForDiffusionLM
from ..schedulers.scheduling_ladd import LaddScheduler
from ..schedulers.scheduling_sequential import LaddSequentialScheduler
from ..schedulers.scheduling_tuned import LaddTunedScheduler
from ..schedulers.unmasking import unmasking
from ..tasks import Task
from ..training.arguments import LaddTrainingArguments
from ..training.renamed import check_renamed
from ..utils.number_ranges import whole
from ..utils.registry import Spec
from .command_line import CommandLine, check_output_folder, named, refuse, refusing
from .recipe_files import changed, read_recipe, recipe_path, yaml_of
from .recipe_stages import stages_of_run
from .recommended import recommended_config
from .setting_help import setting_help
from .setting_kinds import check_kinds
from .short_runs import log_short_runs, warm_up_of_run

DEFAULT_RECIPE = "sawtooth-di"

# Least values of the numeric settings.
_LEAST = {
    "length": 1,
    "tokenizer_vocab_size": 1,
    "min_tokens": 1,
    "num_proc": 1,
    "judge_order": 1,
    "judge_characters": 1,
    "num_samples": 1,
    "sample_batch_size": 1,
    "cpu_threads": 0,
    "num_eval_sequences": 0,
    "max_steps": 1,
}


@dataclass
class RunArguments:
    """Settings of a run besides training."""

    config: str = field(
        default=DEFAULT_RECIPE,
        metadata={"help": "Recipe: a YAML file of these fields, or the name of an included one."},
    )
    unset: list[str] = field(
        default_factory=list,
        metadata={"help": "Fields of the recipe to reset to their defaults.", "action": "extend"},
    )
    data: str = field(
        default="sawtooth",
        metadata={"help": "'sawtooth', a corpus by name, such as 'python-docs', or a file or folder of texts."},
    )
    length: int = field(default=32, metadata={"help": "Tokens per sequence."})
    tokenizer: str = field(
        default="character", metadata={"help": "Texts: 'character', 'byte_level_bpe', or one of the Hub or a folder."}
    )
    tokenizer_vocab_size: int = field(default=4096, metadata={"help": "Tokens of 'byte_level_bpe'."})
    bos_token: str | None = field(
        default=None, metadata={"help": "Token of its vocabulary that begins texts, if not the default."}
    )
    eos_token: str | None = field(
        default=None, metadata={"help": "Token of its vocabulary that ends texts, if not the default."}
    )
    data_config: str | None = field(
        default=None, metadata={"help": "Configuration of a data set of the Hub, if it has several."}
    )
    text_column: str = field(default="text", metadata={"help": "Column with the texts, of files and of the Hub."})
    sample_by: str = field(
        default="document",
        metadata={"help": "Unit of a file that is one text.", "choices": ["document", "paragraph", "line"]},
    )
    held_out: float = field(default=0.05, metadata={"help": "Share of files to hold out if all are training data."})
    normalize: bool = field(default=False, metadata={"help": "Write texts in text8's 27 symbols."})
    packing: str = field(
        default="pack", metadata={"help": "Texts to sequences; see docs/data.md.", "choices": ["pack", "wrap", "pad"]}
    )
    separator: str | None = field(
        default=None,
        metadata={
            "help": "Between packed documents, where the tokenizer has no EOS and no SEP token; if not given, a space, "
            "and nothing in text8."
        },
    )
    truncate: bool = field(
        default=False, metadata={"help": "Truncate padded texts; otherwise long ones continue in further sequences."}
    )
    fill: str = field(
        default="padding",
        metadata={
            "help": "Filling of padded texts: 'padding', or 'eos', from which the model learns where they end.",
            "choices": ["padding", "eos"],
        },
    )
    min_tokens: int | None = field(
        default=None, metadata={"help": "Drop shorter padded texts; by default the number of latents."}
    )
    streaming: bool = field(default=False, metadata={"help": "Read the training texts during training."})
    num_proc: int | None = field(default=None, metadata={"help": "Processes that tokenize texts."})
    precompute_latents: bool = field(
        default=False, metadata={"help": "Run a fixed pretrained encoder once, and store its output."}
    )
    judge_order: int = field(default=6, metadata={"help": "Texts: characters of the judge's longest n-gram."})
    judge_characters: int = field(
        default=20_000_000, metadata={"help": "Texts: characters that the judge is estimated on."}
    )
    judges: list[str] | None = field(
        default=None,
        metadata={
            "help": "Judges of samples, by name or as {name: ..., options}: see docs/measuring.md. By default 'ngram' "
            "and 'entropy' of texts; of the sawtooth, those beside its exact law."
        },
    )
    recommended: bool = field(
        default=False,
        metadata={
            "help": "Latents, sizes and stages that learn in short runs, as far as they are not given "
            "(LaddConfig.recommended)."
        },
    )
    baseline: bool = field(default=True, metadata={"help": "Train MDLM with the same tokens, optimiser and steps."})
    budgets: list[int] = field(
        default_factory=lambda: [1, 2, 4, 8, 16, 32, 128], metadata={"help": "Numbers of evaluations to sample with."}
    )
    num_samples: int = field(default=2000, metadata={"help": "Samples for each number of evaluations."})
    sample_batch_size: int = field(default=500, metadata={"help": "Samples drawn at once."})
    cpu_threads: int = field(
        default=0,
        metadata={
            "help": "Threads of a CPU run; 0: OMP_NUM_THREADS, of `ladd` itself, or the cores, shared by the processes."
        },
    )
    num_eval_sequences: int = field(default=500, metadata={"help": "Held-out sequences for the bound; 0: none."})

    def __post_init__(self) -> None:
        """Raises `ValueError` for a value that cannot work."""
        if isinstance(self.budgets, int):  # a single number in a recipe
            self.budgets = [self.budgets]
        if not isinstance(self.budgets, list) or not self.budgets or not all(_whole(n, 1) for n in self.budgets):
            raise ValueError(f"`budgets` is {self.budgets}; give whole numbers of at least 1.")
        if self.judges is not None:
            self.judges = [choice(one) if isinstance(one, str) else one for one in self.judges]
        check_share(self.held_out)
        kinds = get_type_hints(type(self))
        for f in fields(self):
            value = getattr(self, f.name)
            if f.name in _LEAST and not (value is None and f.default is None):
                check_number(f.name, value)
            if kinds[f.name] is str and not isinstance(value, str):
                raise ValueError(f"`{f.name}` is {value!r}; give a text, in quotes where YAML takes it for another.")


# Settings of the model that are determined by the data.
_OF_DATA = (
    *("vocab_size", "mask_token_id", "pad_token_id", "bos_token_id", "eos_token_id", "tokenizer_size"),
    *("max_position_embeddings", "text_frame", "text_lengths", "format_version"),
)
# Prefixes of such settings
_OF_LATENTS = ("latent_", "global_latents", "encoder", "quantizer", "codebook_", "reference_")
_HELP = setting_help()


def choice(text: str) -> Any:
    """Parses a choice on a command line: its name, or a mapping of name and options in YAML or JSON.

    A mapping without `name` changes options of the recipe's choice.
    """
    given = yaml_of(text)
    return given if isinstance(given, dict) else text


def _flag(name: str, kind: Any) -> tuple[str, Any, Any]:
    """Returns the field for a setting of `LaddConfig`: its name, its type or parser, and its help."""
    kinds = [one for one in get_args(kind) if one is not type(None)] if isinstance(kind, UnionType) else [kind]
    if any(get_origin(one) is dict for one in kinds):
        told = f"{_HELP[name]} With options as '{{name: NAME, OPTION: VALUE}}'."
        return name, choice, field(default=None, metadata={"help": told})
    if get_origin(kind) is Literal:
        accepted = ", ".join(map(repr, get_args(kind)))
        return name, str | None, field(default=None, metadata={"help": f"One of {accepted}. {_HELP.get(name, '')}"})
    return name, kinds[0] | None, field(default=None, metadata={"help": _HELP.get(name)})


class _Model:
    """The model: a size or sizes, and its latents. `None` leaves the choice to `LaddConfig`."""

    size: str | None
    latent_type: str

    def given(self) -> dict[str, Any]:
        """Returns the given settings of `LaddConfig`."""
        return {name: value for name, value in vars(self).items() if value is not None and name != "size"}

    @property
    def num_latents(self) -> int:
        """M, or 0 without latents."""
        return 0 if self.latent_type == "none" else self.given().get("latent_length", 0)

    @property
    def least_tokens(self) -> int:
        """The number of tokens that each text has at least: one for each latent of a chunk, and at least one."""
        return max(1, self.num_latents - self.given().get("global_latents", 0))

    @property
    def pooling(self) -> str | None:
        """The name of the pooling of a pretrained encoder, `None` without one."""
        return pooling_of(self.given().get("encoder", "trained")) if self.num_latents else None

    def over(self, recipe: dict[str, Any]) -> None:
        """Fills in the recipe's choices if flags change only their options."""
        for name, value in self.given().items():
            setattr(self, name, changed(recipe.get(name), value))

    def config(self, task: Task, latents: bool, recommended: bool = False, num_tokens: int | None = None) -> LaddConfig:
        """Returns the model's configuration, or with `latents=False` the baseline's: the same token stream.

        If `recommended`, what is not given is as `LaddConfig.recommended` has it for training texts of `num_tokens`.
        """
        options = {name: value for name, value in self.given().items() if latents or not name.startswith(_OF_LATENTS)}
        if recommended:
            return recommended_config(options, self.size, task, num_tokens)
        options |= {**task.vocabulary, "max_position_embeddings": task.length}
        return LaddConfig.from_size(self.size, **options) if self.size else LaddConfig(**options)


_SIZE = field(default=None, metadata={"help": f"One of {', '.join(MODEL_SIZES)}."})
_SETTINGS = [_flag(name, kind) for name, kind in LaddConfig.__annotations__.items() if name not in _OF_DATA]
ModelArguments = make_dataclass("ModelArguments", [("size", str | None, _SIZE), *_SETTINGS], bases=(_Model,))


# In recipes a path may be written as corners, too, which a flag gives as JSON, and a schedule, a judge or a measure as
# a mapping.
_LISTS_IN_RECIPES = {
    **dict.fromkeys(("schedules", "nelbo_paths", "judges", "measures"), list),
    "time_distribution": str | list,
}


class _Schedules:
    """The inference schedules that are compared, the last of which is saved."""

    schedules: list[Any]

    def __post_init__(self) -> None:
        """Raises `ValueError` for what is no schedule of a run, and an order of tokens that none can be tuned to."""
        if not isinstance(self.schedules, list) or not self.schedules:
            raise ValueError(f"`schedules` is {self.schedules!r}; give a list of paths, such as [joint, sequential].")
        self.schedules = [ScheduleSpec.parsed(_schedule(one)) for one in self.schedules]
        check_names(self.schedules)
        if any(spec.path == SAVED for spec in self.schedules):
            raise ValueError(f"`schedules` has {SAVED!r}, of which a run has none yet: give a path, or {TUNED!r}.")
        for spec in self.to_tune:
            order = self._tuning_options(spec)["unmasking"]
            if not unmasking(order).follows_times:
                raise ValueError(
                    f"`unmasking` {order!r} does not look at times, so that no schedule can be tuned for it: leave "
                    "'tuned' out of `schedules`, or give another `unmasking`."
                )

    @property
    def to_tune(self) -> list[ScheduleSpec]:
        """Those that are tuned after training."""
        return [spec for spec in self.schedules if spec.path == TUNED]

    def along(self, path: PathSpec) -> LaddScheduler:
        """Builds the scheduler of a path, with those of the options that it has."""
        return ScheduleSpec.parsed(path).built(vars(self))

    def compared(self, config: LaddConfig) -> dict[str, LaddScheduler]:
        """Builds the schedulers of paths that a model can follow, by their names.

        Raises `ValueError` for options that do not fit it, of those that are tuned later as well.
        """
        for spec in self.to_tune:
            LaddScheduler(**self._tuning_options(spec)).for_model(config)
        paths = [spec for spec in self.schedules if spec.path != TUNED]
        schedulers = {spec.name: spec.built(vars(self)).for_model(config) for spec in paths}
        if not config.separate_latent_denoiser:
            return schedulers
        # latents whose network sees no tokens come before them
        return {name: one for name, one in schedulers.items() if one.path.latents_first}

    def tuned(self, model: LaddForDiffusionLM, held_out: Any) -> dict[str, LaddTunedScheduler]:
        """Tunes schedules for a trained model on held-out texts, by their names."""
        measured = tune_schedule(model, held_out).config
        return {
            spec.name: LaddTunedScheduler.from_config(measured, **self._tuning_options(spec)) for spec in self.to_tune
        }

    def _tuning_options(self, spec: ScheduleSpec) -> dict[str, Any]:
        shared = {name: value for name, value in vars(self).items() if name in _SHARED_OPTIONS}
        if unknown := [name for name in spec.options if name not in shared]:
            raise ValueError(
                f"The schedule {spec.name!r} has an option {unknown[0]!r}, which its scheduler does not take; give "
                f"some of {', '.join(map(repr, shared))}."
            )
        return {**shared, **spec.options}


# Options of tuned schedulers that those of paths have as well
_SHARED_OPTIONS = [
    name
    for name in inspect.signature(LaddTunedScheduler).parameters
    if name in inspect.signature(LaddScheduler).parameters
]


def _schedule(given: Any) -> Any:
    """Returns a schedule of a recipe or a flag, whose mapping is text in YAML or JSON."""
    return yaml_of(given) if isinstance(given, str) and given.startswith("{") else given


_PATHS = field(
    default_factory=lambda: ["joint", "sequential"],
    metadata={
        "help": "Paths whose samples are compared, by name or by their corners, or 'tuned': the best of each number of "
        "evaluations, found after training on held-out texts; with options of its own as '{path: joint, token_waiting: "
        "until_known, label: joint that waits}'; the last is saved."
    },
)
_HELP_OF_SCHEDULES = {
    "latent_share": "Sequential: share of the steps for the latents.",
    "max_latent_steps": "Sequential: at most so many of them.",
    "timestep_spacing": "Grid of times: 'uniform' or 'cosine'.",
    "latent_solver": "'ddim' or 'ddpm', for continuous latents.",
    "latent_renoising": "Share of the noise that their steps draw anew.",
    "latent_rescaling": "'none', or 'l2' or 'unit', as `latent_normalization`: length of predicted continuous latents.",
    "unmasking": "Order of tokens: see docs/generation.md.",
    "token_waiting": "'none', 'while_written' or 'until_known': tokens that wait for their latents.",
    "temperature": "Temperature of the tokens, saved with the pipeline; 1 is the model's own law.",
    "latent_temperature": "The same of codes or anchors.",
    "remasking": "'none', or {name: cap, rate: 0.02} or {name: rescale, rate: 0.1}: masks tokens again (ReMDM).",
}


def _flag_of_schedule(name: str, default: Any) -> tuple[str, Any, Any]:
    """The field for an option of the schedulers."""
    kind = get_type_hints(LaddSequentialScheduler.__init__)[name]
    kind = choice if kind == Spec else kind
    return name, kind, field(default=default, metadata={"help": _HELP_OF_SCHEDULES.get(name)})


_OPTIONS = {
    name: one.default
    for name, one in inspect.signature(LaddSequentialScheduler).parameters.items()
    if name not in LaddScheduler.OF_THE_MODEL
}
SchedulerArguments = make_dataclass(
    "SchedulerArguments",
    [("schedules", list[str], _PATHS), *(_flag_of_schedule(*one) for one in _OPTIONS.items())],
    bases=(_Schedules,),
)


_KINDS = (RunArguments, ModelArguments, SchedulerArguments, LaddTrainingArguments)  # of a recipe's fields


def check_number(name: str, value: Any) -> None:
    """Raises `ValueError` unless it is a whole number that is large enough."""
    if not _whole(value, _LEAST[name]):
        raise ValueError(f"`{name}` is {value!r}; give a whole number of at least {_LEAST[name]}.")


def _whole(value: Any, least: int) -> bool:
    return isinstance(value, int) and value in whole(least, "")  # at most what tensors can hold


def check_fit(run: RunArguments, model: _Model, training: LaddTrainingArguments) -> None:
    """Raises `ValueError` for settings that contradict each other."""
    check_number("max_steps", training.max_steps)
    if not run.data:
        raise ValueError(
            "The recipe is for texts of your own, and none are given: name a file or a folder of them with --data."
        )
    if run.data == "sawtooth" and run.data_config is not None:
        raise ValueError(
            f"`data_config` is {run.data_config!r}, a configuration of a data set of the Hub, and the data are the "
            "sawtooth: leave it out, or name one as `data`."
        )
    padded = run.packing == "pad"
    if run.truncate and not padded:
        raise ValueError(
            f"`truncate` cuts padded texts off, and `packing` is {run.packing!r}: leave it out, or set `packing` to "
            "'pad'."
        )
    if run.fill == "eos" and not padded:
        raise ValueError(
            f"`fill` is what padded texts are filled up with, and `packing` is {run.packing!r}: leave it out, or set "
            "`packing` to 'pad'."
        )
    pooling = model.pooling
    chunks_are_tokens = pooling is not None and pooling in POOLINGS and POOLINGS[pooling].chunks_are_tokens
    if padded and run.fill == "padding" and chunks_are_tokens:
        raise ValueError(
            f"`encoder.pooling` {pooling!r} reads exactly {run.length} tokens of each text, and padded "
            "ones have fewer: set `packing` to 'pack' or 'wrap', or choose another pooling."
        )
    if run.min_tokens is not None and run.min_tokens < model.least_tokens:
        of_chunks = "" if model.least_tokens == model.num_latents else " of chunks"
        raise ValueError(
            f"`min_tokens` is {run.min_tokens}, but each of the {model.least_tokens} latents{of_chunks} reads at least "
            "one token of a text: give at least as many, or leave it out."
        )


def parser(description: str = "") -> CommandLine:
    """Returns the parser of the command line."""
    parser = CommandLine(_KINDS, launched=True, usage="%(prog)s [RECIPE] [--FLAG VALUE ...]", description=description)
    parser.set_defaults(output_dir=None)
    return parser


def parse_arguments(
    argv: list[str], description: str = ""
) -> tuple[RunArguments, _Model, _Schedules, LaddTrainingArguments]:
    """Parses a recipe, and flags over it. If `--max_steps` is the only length among the flags, the recipe's stages are
    scaled, and so is a warm-up that would take more than a tenth of the run, with a message. Exits with a message for a
    recipe that is missing or has unknown fields, and for invalid settings."""
    argv = named(argv, "--config")
    config_parser = CommandLine(RunArguments, add_help=False, conflict_handler="resolve")
    given = config_parser.parse_known_args(argv)[0]
    with refusing():
        recipe = recipe_path(given.config)
        settings = read_recipe(recipe)
        check_renamed(settings)
    known = {f.name for kind in _KINDS for f in fields(kind) if f.init} - {"config", "unset"}
    if unknown := sorted(map(str, set(settings) - known)):
        refuse(f"{recipe} has unknown fields {unknown}; --help lists the fields of a recipe.")
    if unknown := sorted(set(given.unset) - known):
        refuse(f"--unset names unknown fields {unknown}; --help lists the fields of a recipe.")
    settings = {name: value for name, value in settings.items() if name not in given.unset}
    with refusing():
        hints = {name: hint for kind in _KINDS for name, hint in get_type_hints(kind).items()}
        check_kinds(settings, {**hints, **_LISTS_IN_RECIPES}, texts_are_read=True)
    for f in (f for kind in _KINDS for f in fields(kind)):  # which the parser looks at for flags alone
        choices = f.metadata.get("choices")
        if choices and f.name in settings and settings[f.name] not in choices:
            refuse(f"`{f.name}` is {settings[f.name]!r}; give one of {', '.join(map(repr, choices))}.")
    settings.setdefault("output_dir", f"out/{recipe.stem}")
    with refusing():
        check_renamed(flag[2:].partition("=")[0].replace("-", "_") for flag in argv if flag.startswith("--"))
        stages, scaled = stages_of_run(settings, argv)
    warm_up, warmed = warm_up_of_run(settings, argv)
    if warmed:
        settings["warmup_steps"] = warm_up
    flags = parser(description)
    flags.set_defaults(**settings)
    if stages != settings.get("stages"):
        argv = [*argv, "--stages", stages if isinstance(stages, str) else json.dumps(stages)]
    run, model, schedulers, training = flags.parse(argv)
    with refusing():
        model.over(settings)
        check_fit(run, model, training)
        if schedulers.to_tune and run.num_eval_sequences < 2:
            raise ValueError(
                f"`num_eval_sequences` is {run.num_eval_sequences}, and the schedule 'tuned' is found on held-out "
                "sequences: give some hundred, or leave it out of `schedules`."
            )
    check_output_folder("--output_dir", training.output_dir)
    log_short_runs(training, argv)
    if training.process_index == 0 and (changes := ", ".join(one for one in (scaled, warmed) if one)):
        print(f"The recipe's lengths are scaled along with --max_steps {training.max_steps}: {changes}.", flush=True)
    return run, model, schedulers, training


def baseline_arguments(training: LaddTrainingArguments, folder: Path) -> LaddTrainingArguments:
    """Returns the same training without settings of latents."""
    arguments = copy.deepcopy(training)
    arguments.output_dir = str(folder)
    arguments.stages, arguments.measures = [], []
    arguments.fully_masked_share = arguments.latent_dropout = 0.0
    arguments.encoder_corruption = arguments.encoder_mask_ratio = arguments.encoder_noise = 0.0
    arguments.latent_noise_time = arguments.latent_mask_share = arguments.latent_replacement_share = 0.0
    arguments.quantizer_dropout = arguments.contrastive_weight = arguments.latent_kl_weight = 0.0
    arguments.conditional_independence_weight = arguments.meanflow_share = 0.0
    arguments.latent_target_gradient = arguments.consistency_clean_latents = False
    arguments.time_distribution = "independent"
    arguments.extra_loss_terms = None
    return arguments
