"""Choices by name, uniform for all kinds of them: noise schedules, quantisers, poolings, corpora and so on."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Iterator, Mapping
from importlib import import_module
from typing import Any, Generic, TypeVar, overload

from .wrong_objects import described

T = TypeVar("T")

# A choice as a setting: its name, or a mapping with `name` and the options of the object to build.
Spec = str | Mapping[str, Any]


def _is_redefined(known: Any, entry: Any) -> bool:
    """True for a function or class that is defined once more, as where a notebook's cell runs twice."""
    names = [(getattr(one, "__module__", None), getattr(one, "__qualname__", "<lambda>")) for one in (known, entry)]
    return names[0] == names[1] and not names[0][1].endswith("<lambda>")


class Registry(Generic[T]):
    """Named choices: the entry is the choice itself, or for choices with options the function or class that builds it.

    Args:
        kind: of the choices, in the singular, for messages.
        entries: initial ones.
        modules: further names, with the modules of `package` that register them: imported on first use.
        package: the package of those modules.
    """

    def __init__(
        self,
        kind: str,
        entries: Mapping[str, T] | None = None,
        modules: Mapping[str, str] | None = None,
        package: str | None = None,
    ) -> None:
        self.kind, self.package = kind, package
        self._entries, self._modules = dict(entries or {}), dict(modules or {})

    @overload
    def register(self, name: str) -> Callable[[T], T]: ...
    @overload
    def register(self, name: str, entry: T) -> T: ...
    def register(self, name: str, entry: T | None = None) -> T | Callable[[T], T]:
        """Adds a choice, directly or as a decorator. Raises `ValueError` for a name that is taken."""
        if not isinstance(name, str) or not name:
            raise ValueError(f"The name of a {self.kind} is {described(name)}; give a text.")
        if entry is None:
            return lambda decorated: self.register(name, decorated)
        if name in self._modules and f"{self.package}.{self._modules[name]}" not in sys.modules:
            self[name]  # imports the module that registers this package's own choice
        known = self._entries.get(name, entry)
        if known is not entry and known != entry and not _is_redefined(known, entry):
            raise ValueError(f"There is a {self.kind} {name!r} already: choose another name.")
        self._entries[name] = entry
        return entry

    def build(self, spec: Spec) -> Any:
        """Builds the object for a name, or for a mapping with `name` and options, which the object checks itself.

        Raises `ValueError` for an unknown name, and for options that are unknown, missing or out of range.
        """
        name, options = self.parsed(spec)
        make: Any = self[name]
        known = inspect.signature(make).parameters
        if unknown := [option for option in options if option not in known]:
            takes = f"it takes {', '.join(f'`{one}`' for one in known)}" if known else "it takes none"
            raise ValueError(f"The {self.kind} {name!r} has no option {', '.join(map(repr, unknown))}; {takes}.")
        needed = [option for option, one in known.items() if one.default is one.empty and option not in options]
        if needed:
            raise ValueError(f"The {self.kind} {name!r} needs the option `{needed[0]}`: give it beside `name`.")
        return make(**options)

    def parsed(self, spec: Spec) -> tuple[str, dict[str, Any]]:
        """Returns a choice's name and its options. Raises `ValueError` if it has no name."""
        if isinstance(spec, str):
            return spec, {}
        name = spec.get("name") if isinstance(spec, Mapping) else None
        if not isinstance(name, str):
            given = dict(spec) if isinstance(spec, Mapping) else described(spec)
            raise ValueError(
                f"The {self.kind} is {given}; give its name ({', '.join(map(repr, self))}), or a mapping of "
                "its `name` and options."
            )
        return name, {option: value for option, value in spec.items() if option != "name"}

    def __getitem__(self, name: str) -> T:
        """Returns an entry. Raises `ValueError`, listing the names, for an unknown one."""
        if name not in self:
            accepted = f"give one of {list(self)}" if len(self) else "none is registered yet"
            raise ValueError(f"The {self.kind} {described(name)} is unknown; {accepted}.")
        if name not in self._entries:
            import_module(f".{self._modules[name]}", self.package)
        return self._entries[name]

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and (name in self._entries or name in self._modules)

    def __iter__(self) -> Iterator[str]:
        return iter(sorted({*self._entries, *self._modules}))

    def __len__(self) -> int:
        return len({*self._entries, *self._modules})

    def items(self) -> Iterator[tuple[str, T]]:
        """Yields each name with its entry."""
        return ((name, self[name]) for name in self)
