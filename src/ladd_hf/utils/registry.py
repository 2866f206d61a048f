"""Choices by name, the same way for all kinds of them: noise schedules, quantisers, poolings and so on."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from importlib import import_module
from typing import Generic, TypeVar, overload

from .wrong_objects import described

T = TypeVar("T")


class Registry(Generic[T]):
    """What stands for each name.

    Args:
        kind: what the choices are, in the singular, for messages.
        entries: the first of them.
        modules: further ones, by the modules of `package` that register them: imported when they are asked for.
        package: the package, or flat folder, those modules are in.
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
        """Adds a choice, or decorates one. Raises `ValueError` for a name that is taken."""
        if not isinstance(name, str) or not name:
            raise ValueError(f"The name of a {self.kind} is {described(name)}; give a text.")
        if entry is None:
            return lambda decorated: self.register(name, decorated)
        if self._entries.get(name, entry) is not entry:
            raise ValueError(f"There is a {self.kind} {name!r} already: choose another name.")
        self._entries[name] = entry
        return entry

    def __getitem__(self, name: str) -> T:
        """Raises `ValueError`, which lists the names, for one that is unknown."""
        if name not in self:
            raise ValueError(f"The {self.kind} {described(name)} is unknown; give one of {list(self)}.")
        if name not in self._entries:
            import_module(f".{self._modules[name]}", self.package)
        return self._entries[name]

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and (name in self._entries or name in self._modules)

    def __iter__(self) -> Iterator[str]:
        return iter(sorted({*self._entries, *self._modules}))
