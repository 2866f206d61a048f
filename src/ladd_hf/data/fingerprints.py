"""Fingerprints of all that determines an output, as plain text: the same in every process, different otherwise.

Cached data are named by what they were made of. An object is described by its class, by the code of that class unless
it belongs to an installed library, and by its state; a tokenizer also by the ids that it gives to texts of many kinds.
"""

from __future__ import annotations

import copy
import enum
import functools
import hashlib
import json
import re
import sys
import sysconfig
import types
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from tokenizers import AddedToken, Tokenizer
from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast

from ..utils.digests import text_digest

# State of a tokenizer that does not affect the ids of a text: its origin, how it writes, and its counters.
_NO_PART = {
    *("name_or_path", "_processor_class", "processor_class", "tokenizer_class", "backend", "auto_map", "files_loaded"),
    *("is_local", "local_files_only", "_commit_hash", "deprecation_warnings", "verbose", "init_inputs", "_auto_class"),
    *("chat_template", "chat_control_tokens", "response_template", "clean_up_tokenization_spaces", "model_max_length"),
    *("padding_side", "truncation_side", "model_input_names", "special_tokens_map_file", "_in_target_context_manager"),
    # described by the tokens themselves
    *("added_tokens_decoder", "_special_tokens_map", "extra_special_tokens", "additional_special_tokens"),
    "model_specific_special_tokens",
    *PreTrainedTokenizerBase.SPECIAL_TOKENS_ATTRIBUTES,
}
# The methods through which a fast tokenizer calls its core. If one is overridden, the core alone does not describe it.
_ENCODING = ("__call__", "encode", "_encode_plus", "_encode_without_added_tokens", "_convert_encoding")
_PROBES = (
    "The quick Brown fox JUMPS over the lazy dog's back, doesn't it? \"Yes\" (of course)!",
    "".join(map(chr, range(32, 127))),
    " two  spaces,\ttab,\nline\r\nand more \u00a0\u2003\u200b\u200d\ufeff\u0000\u0007 ",
    "0123456789 1,234.56 ½ ² ① ٣ Ⅷ 1e-5 $3 €4 50% #tag @name https://a.b/c?d=e a_b-c/d\\e",
    "É é e\u0301 Å ñ Ü ß ẞ İ ı ﬁ Æ œ ŉ ǅ “x” ‘y’ – — … « » ´ ` ¨",
    "ΑΣ ας Привет МИР Ёё שָׁלוֹם مَرْحَبًا ١٢ हिन्दी ไทย ქართული",
    "漢字 かな カナ ｶﾅ ＡＢｃ１ 東京都に住む 한국어 你好，世界。",
    "😀 👩‍👩‍👧 🇩🇪 ☃ \U0001f9ff \ue000 \U0010ffff \u0300",
)
_WORDS = 256  # tokens of the vocabulary that are tokenized as texts


class Fingerprint(NamedTuple):
    """A tokenizer's name: `text`, and `whole`, which is false if something that may determine its ids has no name."""

    text: str
    whole: bool


class _Nameless(Exception):
    """A value that may determine the output cannot be described."""


def fingerprint_of(tokenizer: PreTrainedTokenizerBase) -> Fingerprint:
    """Returns all that determines the ids of a text without special tokens: the same in every process and after use.

    For a fast tokenizer this is its core. For any other it is its class with its code, its state (the contents of
    files, not their paths), its tokens, and the ids that it gives to texts of many kinds.
    """
    special = sorted((name, str(token)) for name, token in tokenizer.special_tokens_map.items())
    if not encodes_by_itself(tokenizer):
        return Fingerprint(json.dumps([_core(tokenizer.backend_tokenizer), special], sort_keys=True), True)
    added = {str(number): _tree(token) for number, token in sorted(tokenizer.added_tokens_decoder.items())}
    known = [_qualified(type(tokenizer)), sorted(tokenizer.get_vocab().items()), special, added]
    try:
        probed = copy.deepcopy(tokenizer)
        before = _tree(probed)
        ids = _probed(probed)
        state, whole = _lasting(before, _tree(probed)), True
    except Exception:  # of any kind: copying and describing may run anyone's code; no name then
        ids, state, whole = _probed(tokenizer), None, False
    return Fingerprint(json.dumps([*known, ids, state], sort_keys=True), whole)


def in_words(tokenizer: PreTrainedTokenizerBase) -> str:
    """Returns a tokenizer's kind, number of tokens, and a digest of its fingerprint, if it has a whole one."""
    text, whole = fingerprint_of(tokenizer)
    content = f" ({text_digest(text)})" if whole else ""
    return f"{type(tokenizer).__name__} of {len(tokenizer):,} tokens{content}"


def encodes_by_itself(tokenizer: PreTrainedTokenizerBase) -> bool:
    """True if a tokenizer is more than a fast one's core: a slow one, or a class with its own way of encoding."""
    if getattr(tokenizer, "backend_tokenizer", None) is None:
        return True
    kind, usual = type(tokenizer), PreTrainedTokenizerFast
    own = any(getattr(kind, name, None) is not getattr(usual, name, None) for name in _ENCODING)
    if own or not vars(tokenizer).keys().isdisjoint(_ENCODING):
        return True
    try:
        tokenizer.backend_tokenizer.to_str()
    except Exception:  # as `tokenizers` raises for a core with a part written in Python
        return True
    return False


def code_of(*values: Any) -> str | None:
    """Returns a digest of classes, functions and values: by name if of an installed library, else by code; `None` if
    one of them cannot be described."""
    try:
        tree = [_tree(value) for value in values]
    except _Nameless:
        return None
    return hashlib.sha256(json.dumps(tree, sort_keys=True).encode()).hexdigest()


def _core(core: Tokenizer) -> Any:
    """Describes a fast tokenizer's core, without settings of its last call."""
    description = json.loads(core.to_str())
    description["truncation"] = description["padding"] = None
    return description


def _probed(tokenizer: PreTrainedTokenizerBase) -> list[Any]:
    """Returns the ids of texts of many kinds, or the kind of error for texts that are refused."""
    vocabulary = sorted(tokenizer.get_vocab())
    words = vocabulary[:: max(1, len(vocabulary) // _WORDS)]
    cases = [" ".join(words), " ".join(words).swapcase(), "".join(words)]
    added = [str(token) for token in tokenizer.added_tokens_decoder.values()][:_WORDS]
    cases += [f"a {token} b{token}c {token.upper()} {token.lower()}" for token in added]
    found: list[Any] = []
    for text in (*_PROBES, *cases):
        try:
            ids = tokenizer(text, add_special_tokens=False, split_special_tokens=True, verbose=False)["input_ids"]
            found.append([int(one) for one in ids])
        except Exception as error:  # of any kind: the error is the tokenizer's answer to this text
            found.append(type(error).__name__)
    return found


# --- objects as trees of plain values ---


def _tree(value: Any) -> Any:
    return _Walk().tree(value)


class _Walk:
    """A walk over an object and all its parts, which visits every class and function once."""

    def __init__(self) -> None:
        self._above: list[int] = []  # the objects that contain this one
        self._met: dict[int, int] = {}  # classes and functions visited

    def tree(self, value: Any) -> Any:
        """Returns the value as plain values. Raises `_Nameless` for a value that cannot be described."""
        if isinstance(value, str):
            return _content(value)
        if isinstance(value, type(None) | bool | int | float) and not isinstance(value, enum.Enum):
            return value
        if id(value) in self._above:
            return ["above", len(self._above) - self._above.index(id(value))]
        self._above.append(id(value))
        try:
            return self._described(value)
        finally:
            self._above.pop()

    def _described(self, value: Any) -> Any:
        if isinstance(value, bytes | bytearray):
            return ["bytes", hashlib.sha256(value).hexdigest()]
        if isinstance(value, list | tuple):
            return [type(value).__name__, *map(self.tree, value)]
        if isinstance(value, set | frozenset):
            return ["set", *sorted(map(self.tree, value), key=json.dumps)]
        if isinstance(value, Mapping) and type(value).__module__ in ("builtins", "collections"):
            return ["dict", *sorted(([self.tree(k), self.tree(v)] for k, v in value.items()), key=json.dumps)]
        if isinstance(value, np.ndarray | torch.Tensor):
            array = np.ascontiguousarray(value.detach().cpu().numpy() if isinstance(value, torch.Tensor) else value)
            return ["array", str(array.dtype), list(array.shape), hashlib.sha256(array.tobytes()).hexdigest()]
        if isinstance(value, re.Pattern):
            return ["pattern", repr(value.pattern), value.flags]
        if isinstance(value, types.ModuleType):
            return ["module", value.__name__]
        if isinstance(value, AddedToken):
            return ["token", value.content, repr(value)]
        if isinstance(value, Tokenizer):
            return ["core", _core(value)]
        if isinstance(value, type):
            return ["class", _qualified(value), *self._once(value, self._class)]
        if isinstance(value, types.FunctionType):
            return ["function", _qualified(value), *self._once(value, self._function)]
        if isinstance(value, types.MethodType):
            return ["method", value.__name__, self.tree(value.__self__)]
        if isinstance(value, types.BuiltinFunctionType):
            return ["built-in", str(value.__module__), value.__qualname__]
        if isinstance(value, staticmethod | classmethod):
            return self.tree(value.__func__)
        if isinstance(value, property):
            return ["property", self.tree(value.fget), self.tree(value.fset)]
        if isinstance(value, functools.cached_property):
            return ["property", self.tree(value.func)]
        return self._object(value)

    def _once(self, value: Any, describe: Callable[[Any], list[Any]]) -> list[Any]:
        if _installed(value.__module__):
            return []
        if id(value) in self._met:
            return [self._met[id(value)]]
        self._met[id(value)] = len(self._met)
        return describe(value)

    def _class(self, kind: type) -> list[Any]:
        """Describes the methods and values of a class; its bases are described separately."""
        own = {name: part for name, part in sorted(vars(kind).items()) if not isinstance(part, _SLOTS)}
        parts = {name: part for name, part in own.items() if callable(part) or not name.startswith("__")}
        return [[self.tree(base) for base in kind.__bases__], {name: self.tree(part) for name, part in parts.items()}]

    def _function(self, function: types.FunctionType) -> list[Any]:
        """Describes the code of a function, its bound values, and the names it uses in its module."""
        code, there = function.__code__, function.__globals__
        bound = [cell.cell_contents for cell in function.__closure__ or () if _is_filled(cell)]
        named = {name: self.tree(there[name]) for name in sorted(_names(code)) if name in there}
        return [_instructions(code), *map(self.tree, (bound, function.__defaults__, function.__kwdefaults__)), named]

    def _object(self, value: Any) -> Any:
        """Describes an object of any other class by its class and by its state for copying."""
        kind = [self.tree(type(value))]
        if isinstance(value, PreTrainedTokenizerBase):
            return ["object", kind, {name: self.tree(one) for name, one in _deciding(vars(value))}]
        try:
            reduced = value.__reduce_ex__(4)
        except Exception as error:  # of any kind: the object cannot be copied
            raise _Nameless(f"A {type(value).__name__}") from error
        if isinstance(reduced, str):
            return ["object", kind, reduced]
        _, given, state, items, pairs = (*reduced, None, None, None)[:5]
        kind.append([self.tree(one) for one in given if one is not type(value)])
        kind += [self.tree(list(more)) for more in (items, pairs) if more is not None]
        if isinstance(state, dict):
            return ["object", kind, {str(name): self.tree(one) for name, one in sorted(state.items())}]
        return ["object", kind, self.tree(state)]


_SLOTS = (types.GetSetDescriptorType, types.MemberDescriptorType, types.WrapperDescriptorType)


def _deciding(attributes: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for name, value in sorted(attributes.items()):
        if name == "init_kwargs":
            yield name, {key: one for key, one in _deciding(value) if one is not None}
        elif name not in _NO_PART:
            yield name, value


def _content(text: str) -> Any:
    """Returns the text; for the path of a file the file's contents instead, since its location has no effect."""
    if not text.isprintable() or not 0 < len(text) < 4096 or not set(text) & set("/.\\"):
        return text
    try:
        if not (path := Path(text)).is_file():
            return text
        with path.open("rb") as file:
            return ["file", hashlib.file_digest(file, "sha256").hexdigest()]
    except OSError:  # too long for a path, or not readable
        return text


def _qualified(value: Any) -> str:
    return f"{value.__module__}.{value.__qualname__}"


def _is_filled(cell: Any) -> bool:
    try:
        cell.cell_contents  # noqa: B018
    except ValueError:  # raised by Python for an empty cell
        return False
    return True


def _names(code: types.CodeType) -> set[str]:
    inner = (one for one in code.co_consts if isinstance(one, types.CodeType))
    return set(code.co_names).union(*map(_names, inner))


def _instructions(code: types.CodeType) -> list[Any]:
    constants = [_instructions(one) if isinstance(one, types.CodeType) else _constant(one) for one in code.co_consts]
    return [code.co_code.hex(), constants, list(code.co_names), list(code.co_varnames)]


def _constant(value: Any) -> Any:
    return ["set", *sorted(map(repr, value))] if isinstance(value, frozenset) else repr(value)


@functools.cache
def _installed(module: str | None) -> bool:
    """True if a module is Python's own or of an installed library, whose names stand for their code."""
    file = getattr(sys.modules.get(str(module)), "__file__", None)
    if file is None:
        return module is None or module in sys.builtin_module_names
    folders = {sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")}
    return any(Path(file).resolve().is_relative_to(Path(folder).resolve()) for folder in folders)


def _lasting(before: Any, after: Any) -> Any:
    """Returns the part of a state that is the same before and after use: notes made while working have no effect."""
    if before == after:
        return before
    if not (isinstance(before, list) and isinstance(after, list) and before[:2] == after[:2]):
        return None
    if before[0] != "object" or not (isinstance(before[2], dict) and isinstance(after[2], dict)):
        return None
    return ["object", before[1], {name: _lasting(one, after[2].get(name)) for name, one in before[2].items()}]
