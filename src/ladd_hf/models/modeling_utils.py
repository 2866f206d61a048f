"""Base class of both models as transformers models: loading, saving, pushing, and initial weights."""

from __future__ import annotations

import os
from contextlib import AbstractContextManager, nullcontext
from functools import wraps
from pathlib import Path
from typing import Any, ClassVar, NoReturn, cast

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers import initialization as init

from ..utils.local_paths import refuse_file
from ..utils.wrong_objects import described
from .adapter_card import write_adapter_card
from .adapter_loading import AdapterLoading
from .adapters import has_adapters
from .configuration_ladd import LaddConfig
from .encoders.statistics import LatentStatistics
from .flow_map import SeededLinear, without_jumps
from .latent_anchors import LatentAnchors
from .latent_io import LatentInput
from .loading import check_index, clear_errors, refuse_other_sizes, refuse_partial, refuse_pickles
from .quantizers.quantizer import reset_if_of_quantizer
from .readouts import LatentReadout
from .remote_code import code_included, write_code
from .transformer import JointAttention, LaddBlock, ModulatedNorm, Modulation, ZeroInitLinear
from .vocabulary import check_resize


class LaddPreTrainedModel(AdapterLoading, PreTrainedModel):
    """Weights, names and methods shared by both models."""

    config: LaddConfig
    config_class = LaddConfig
    base_model_prefix = "model"
    main_input_name = "input_ids"
    supports_gradient_checkpointing = True
    _no_split_modules = ["LaddBlock"]
    _supports_flash_attn = True
    _supports_sdpa = True
    _supports_flex_attn = True
    _supports_attention_backend = True
    _can_compile_fullgraph = True
    # The loss is a mean over the batch; the Trainer must not divide it again by a number of items.
    accepts_loss_kwargs = False
    _can_record_outputs = {"hidden_states": LaddBlock, "attentions": JointAttention}
    model_tags = ["ladd", "masked-diffusion", "diffusion-language-model"]
    # True if a checkpoint may hold more than the model, which is a part of a larger one.
    _is_part: ClassVar[bool] = False
    # The classes that are pushed with their code, by their auto class.
    _auto_classes: ClassVar[dict[str, type]] = {}
    # The module from which all of them can be imported.
    _main_module: ClassVar[str] = __name__
    # True if saving also writes the code; set by `code_included`.
    _takes_code_along = False

    def __init__(self, config: LaddConfig, *args: Any, **kwargs: Any) -> None:
        if getattr(config, "model_type", None) != LaddConfig.model_type:  # the Hub's code has the same type
            raise ValueError(
                f"`config` is {described(config)}; give a LaddConfig (`{type(self).__name__}.from_pretrained` loads a "
                "model by its name)."
            )
        super().__init__(config, *args, **kwargs)

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: str | os.PathLike | None, *args: Any, **kwargs: Any) -> Any:
        """Extends `from_pretrained` by strict checks: safetensors unless `use_safetensors=False`, and exactly the
        model's weights. Those that `latent_flow_map` adds may be missing, in a model that is to be distilled: they
        change nothing until they are trained.

        Raises `ValueError` for a checkpoint with missing or unexpected weights (with `output_loading_info=True` it
        loads those that fit and also returns what was missing), `OSError` for unreadable files.
        """
        with_info = kwargs.pop("output_loading_info", False)
        from_files = kwargs.get("state_dict") is None
        if from_files and kwargs.get("use_safetensors") is None:
            kwargs["use_safetensors"] = True
        if from_files:
            check_index(pretrained_model_name_or_path, kwargs)
        load: Any = super().from_pretrained
        with clear_errors(pretrained_model_name_or_path, kwargs):
            model, info = load(pretrained_model_name_or_path, *args, output_loading_info=True, **kwargs)
        if with_info:
            return model, info
        if from_files:
            refuse_partial(pretrained_model_name_or_path, without_jumps(info), ignores_others=cls._is_part)
        return model

    @staticmethod
    def _load_pretrained_model(
        model: PreTrainedModel, state_dict: Any, checkpoint_files: Any, load_config: Any, *args: Any, **kwargs: Any
    ) -> Any:
        """Extends `_load_pretrained_model` by checks of the files before, and of the weights after loading."""
        if state_dict is None and load_config.use_safetensors:
            refuse_pickles(checkpoint_files)
        load: Any = PreTrainedModel._load_pretrained_model
        info, offloaded = load(model, state_dict, checkpoint_files, load_config, *args, **kwargs)
        if not load_config.ignore_mismatched_sizes:
            refuse_other_sizes(load_config.pretrained_model_name_or_path, info.mismatched_keys)
        return info, offloaded

    @wraps(PreTrainedModel.save_pretrained)
    def save_pretrained(  # type: ignore[override]
        self,
        save_directory: str | os.PathLike,
        is_main_process: bool = True,
        state_dict: dict[str, Tensor] | None = None,
        push_to_hub: bool = False,
        **kwargs: Any,
    ) -> None:
        """Extends `save_pretrained`: with `push_to_hub` the code is included.

        With adapters it writes only the active adapter, and a card that says how to load it. Raises `ValueError` for a
        model wrapped by `get_peft_model`, and for a folder that is a file.
        """
        refuse_file(save_directory)
        if has_adapters(self) and not self._hf_peft_config_loaded:
            raise ValueError(
                "The model's layers hold adapters that `get_peft_model` put there, and it would not load again so: "
                "call `save_pretrained` of the PeftModel for the adapter alone, or `merge_and_unload` it first."
            )
        with self.code_included() if push_to_hub else nullcontext():
            super().save_pretrained(save_directory, is_main_process, state_dict, push_to_hub, **kwargs)
        if self._takes_code_along and is_main_process:
            write_code(self, self._auto_classes.values(), Path(save_directory), self._main_module)
        if self._hf_peft_config_loaded and is_main_process:
            write_adapter_card(self, Path(save_directory))

    def _upload_modified_files(self, working_dir: str | os.PathLike, repo_id: str, *args: Any, **kwargs: Any) -> Any:
        if self._takes_code_along:
            write_code(self, self._auto_classes.values(), Path(working_dir), self._main_module)
        if self._hf_peft_config_loaded:
            write_adapter_card(self, Path(working_dir), repo_id)
        return super()._upload_modified_files(working_dir, repo_id, *args, **kwargs)

    @wraps(PreTrainedModel.push_to_hub)
    def push_to_hub(self, *args: Any, **kwargs: Any) -> str:  # type: ignore[override]
        """Extends `push_to_hub`: includes the code, to load with `trust_remote_code=True` without this package."""
        with self.code_included():
            return super().push_to_hub(*args, **kwargs)

    def generate(self, *args: Any, **kwargs: Any) -> NoReturn:
        """Raises `NotImplementedError`: transformers generates token by token, and a diffusion model does not."""
        raise NotImplementedError(
            f"{type(self).__name__} writes texts by diffusion, not token by token, so it has no `generate`: use "
            "`ladd_hf.LaddPipeline(model, tokenizer=tokenizer)(num_steps=8, batch_size=4)`, which also continues a "
            "`prompt`."
        )

    def code_included(self) -> AbstractContextManager[None]:
        """Context in which saving the model also writes its code, as pushing does.

        Not for a user's own class, whose code is the user's to publish, nor with adapters, which have no code.
        """
        if type(self) not in self._auto_classes.values() or has_adapters(self):
            return nullcontext()
        return code_included(self, self._auto_classes, self._main_module)

    def resize_token_embeddings(
        self,
        new_num_tokens: int | None = None,
        pad_to_multiple_of: int | None = None,
        mean_resizing: bool = True,
    ) -> nn.Embedding:
        """Extends `resize_token_embeddings`: special tokens keep their ids.

        Ids that `pad_to_multiple_of` adds to the requested number have no token: they are never generated, and have no
        probability (`tokenizer_size` of the configuration). Raises `ValueError` for numbers that are not whole and at
        least 1, and for fewer tokens than the mask token, the other special ones and those of `text_frame` need.
        """
        check_resize(self.config, new_num_tokens, pad_to_multiple_of)
        asked = (self.config.tokenizer_size or self.config.vocab_size) if new_num_tokens is None else new_num_tokens
        embeddings = super().resize_token_embeddings(new_num_tokens, pad_to_multiple_of, mean_resizing)
        self.config.tokenizer_size = asked if asked < self.config.vocab_size else None
        self._resize_other_embeddings(mean_resizing)
        return embeddings

    def _resize_other_embeddings(self, mean_resizing: bool) -> None:
        """Resizes embeddings that transformers does not resize itself."""

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        super()._init_weights(module)
        if isinstance(module, Modulation):
            if module.weight is not None:
                init.zeros_(module.weight)
            init.zeros_(module.bias)
        elif isinstance(module, ZeroInitLinear):
            init.zeros_(module.weight)
            if module.bias is not None:
                init.zeros_(module.bias)
        elif isinstance(module, ModulatedNorm):  # transformers initialises only plain norms
            init.ones_(module.weight)
        elif isinstance(module, LatentReadout):
            init.normal_(module.weight, std=module.in_features**-0.5)
        elif isinstance(module, SeededLinear):
            module.reset(cast(float, self.config.initializer_range))
        elif isinstance(module, LatentStatistics):
            init.zeros_(module.mean)
            init.zeros_(module.std)
        elif isinstance(module, LatentAnchors):
            for buffer in (module.points, module.log_frequencies, module.spread):
                init.zeros_(buffer)
        elif isinstance(module, LatentInput) and module.slots is not None:
            init.normal_(module.slots, std=cast(float, self.config.initializer_range))
        elif isinstance(mask_vector := getattr(module, "mask_vector", None), nn.Parameter):
            init.normal_(mask_vector, std=1.0)
        reset_if_of_quantizer(module, self.config.quantizer)


__all__ = ["LaddPreTrainedModel"]
