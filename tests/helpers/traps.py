"""An object of another library, as a pickle may hold it: whoever loads it runs code."""

from __future__ import annotations


class Trap:
    sprung = False

    def __reduce__(self):
        return spring, ()


def spring():
    Trap.sprung = True
