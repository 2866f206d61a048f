"""Errors on the page: one sentence, and never a traceback."""

from __future__ import annotations

import functools
import inspect
import logging
from collections.abc import Callable, Iterator
from html import escape
from typing import Any

logger = logging.getLogger(__name__)


def sentence(error: Exception) -> str:
    """Returns what the page says of an error. One that is not the user's is logged with all its circumstances."""
    if isinstance(error, ValueError | ImportError):
        return " ".join(str(error).replace("`", "").split())
    logger.error("An error on the page", exc_info=error)
    return f"That did not work, and it is not your error ({type(error).__name__}); the page's own output tells more."


def told(gradio: Any, handler: Callable[..., Any]) -> Callable[..., Any]:
    """Returns a handler, of one answer or of several in turn, whose errors are sentences that pass by on the page; what
    is shown stays as it is."""

    def say(error: Exception) -> Any:
        gradio.Warning(escape(sentence(error)), title="Not like this", duration=12)
        return gradio.skip()

    @functools.wraps(handler)
    def one(*values: Any) -> Any:
        try:
            return handler(*values)
        except Exception as error:
            return say(error)

    @functools.wraps(handler)
    def several(*values: Any) -> Iterator[Any]:
        try:
            yield from handler(*values)
        except Exception as error:
            yield say(error)

    return several if inspect.isgeneratorfunction(handler) else one
