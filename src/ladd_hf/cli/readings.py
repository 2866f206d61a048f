"""A line about texts that a tokenizer does not read as they are given, such as capitals and digits of `python-docs`."""

from __future__ import annotations

import sys
from collections.abc import Iterable

from transformers import PreTrainedTokenizerBase

from .output import printable


def tell_readings(texts: Iterable[str], tokenizer: PreTrainedTokenizerBase | None) -> None:
    """Tells on standard error how each text is read, if it is read with other characters. Spaces do not count."""
    if tokenizer is None:
        return
    for text in dict.fromkeys(texts):
        read = str(tokenizer.decode(tokenizer(text, add_special_tokens=False)["input_ids"]))
        if "".join(read.split()) != "".join(text.split()):
            print(f"{printable(text)!r} is read as {printable(read)!r}, in the symbols of the model.", file=sys.stderr)
