"""Cleaners that turn tokenised corpora back into plain text, by the rules of papers on zero-shot perplexity.

PTB, WikiText and LM1B have spaces around punctuation and replaced words (`N` for a number), which is out of
distribution for a model of web text. SEDD (arXiv 2310.16834), MDLM (2406.07524) and later work undo this, and
perplexities are comparable only if all use the same rules. These are theirs, without one of WikiText's that never
applies.
"""

from __future__ import annotations

import re
from collections.abc import Callable

# A rule is a pattern and its replacement; rules are applied in order.
Rules = list[tuple[str, str]]


def cleaner(rules: Rules) -> Callable[[str], str]:
    """Returns the function that applies these rules in order."""
    compiled = [(re.compile(pattern), replacement) for pattern, replacement in rules]

    def clean(text: str) -> str:
        for pattern, replacement in compiled:
            text = pattern.sub(replacement, text)
        return text

    return clean


def _joined_to_the_left(*marks: str) -> Rules:
    """Removes the space before a mark with spaces on both sides, one pass per mark: two marks may share a space."""
    return [(f" {re.escape(mark)} ", f"{mark} ") for mark in marks]


def _closed_up(left: str, right: str) -> tuple[str, str]:
    """Removes spaces inside of a pair of brackets or quotes."""
    start, end = re.escape(left), re.escape(right)
    return rf"{start}\s*([^{end}]*?)\s*{end}", rf"{left}\1{right}"


_clean_wikitext = cleaner(
    [
        (r"s '", "s'"),
        *((rf" @{re.escape(mark)}@ ", mark) for mark in "-,."),  # inside numbers and compounds
        *_joined_to_the_left(":", ";", ".", "!", "?", ","),
        *(_closed_up(*pair) for pair in ("()", "[]", "{}", '""', "''")),
        (r"= = = =", "===="),  # headings
        (r"= = =", "==="),
        (r"= =", "=="),
        (r" ° ", "°"),
        (r" \n", "\n"),
        (r"\n ", "\n"),
        (r" N ", " 1 "),
        (r" 's", "'s"),
    ]
)

_clean_ptb = cleaner(
    [
        (r" 's", "'s"),
        (r"s ' ", "s' "),
        (r" n't", "n't"),
        (r" \n ", "\n"),
        (r"\\/", "/"),
        (r" N(?= )", " 1"),  # a number that was taken out
        (r"([$#]) 1", r"\g<1>1"),
        (r"<unk>", "?"),
    ]
)

_clean_lm1b = cleaner(
    [
        (r"(https?) : / / ", r"\1://"),
        (r" '(\w+)", r"'\1"),
        (r" (\w+) \. ", r" \1. "),
        (r" (\w+) \.$", r" \1."),
        *_joined_to_the_left("?"),
        (r" \?$", "?"),
        *_joined_to_the_left("!"),
        (r" !$", "!"),
        *_joined_to_the_left(",", ":", ";"),
        (r" / ", "/"),
        (r'" ([^"]+) "', r'"\1"'),
        (r"' ([^']+) '", r"'\1'"),
        (r"\( ([^()]+) \)", r"(\1)"),
        (r"\[ ([^\[\]]+) \]", r"[\1]"),
        (r"([$£]) ", r"\1"),
    ]
)


def clean_wikitext(text: str) -> str:
    """Cleans WikiText: closes up punctuation, brackets and quotes, undoes `@-@` and the like, joins headings."""
    return _clean_wikitext(text)


def clean_ptb(text: str) -> str:
    """Cleans Penn Treebank: joins clitics, replaces `N` by 1 and `<unk>` by a question mark."""
    return _clean_ptb(text)


def clean_lm1b(text: str) -> str:
    """Cleans One Billion Words: closes up punctuation, brackets, quotes, currency signs and links."""
    return _clean_lm1b(text)


def clean_lambada(text: str) -> str:
    """Cleans LAMBADA: straight quotes, and a leading line break, as in GPT-2's evaluation."""
    return "\n" + text.replace("“", '"').replace("”", '"').strip()


def clean_scientific_papers(text: str) -> str:
    """Cleans arXiv and PubMed articles: WikiText's rules, then LM1B's."""
    return clean_lm1b(clean_wikitext(text))
