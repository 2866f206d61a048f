"""Tokenised corpora back to plain text, by the rules that papers on zero-shot perplexity apply.

PTB, WikiText and LM1B come with spaces around punctuation and with words replaced (`N` for a number). A model of web
text is not at home there, so SEDD (arXiv 2310.16834), MDLM (2406.07524) and later work undo it, and perplexities
compare only where all undo it alike. The rules here are theirs; one of WikiText's that never applies is left out.
"""

from __future__ import annotations

import re
from collections.abc import Callable

# A rule is a pattern and what it becomes; rules are applied one after the other.
Rules = list[tuple[str, str]]


def cleaner(rules: Rules) -> Callable[[str], str]:
    """The function that applies these rules in order."""
    compiled = [(re.compile(pattern), replacement) for pattern, replacement in rules]

    def clean(text: str) -> str:
        for pattern, replacement in compiled:
            text = pattern.sub(replacement, text)
        return text

    return clean


def _joined_to_the_left(*marks: str) -> Rules:
    """No space before a mark that has one on either side: a pass for each mark, for two of them may share a space."""
    return [(f" {re.escape(mark)} ", f"{mark} ") for mark in marks]


def _closed_up(left: str, right: str) -> tuple[str, str]:
    """No spaces inside of a pair of brackets or quotes."""
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
    """WikiText: punctuation, brackets and quotes closed up, `@-@` and its kin undone, headings in one piece."""
    return _clean_wikitext(text)


def clean_ptb(text: str) -> str:
    """Penn Treebank: clitics joined, `N` becomes 1, `<unk>` a question mark."""
    return _clean_ptb(text)


def clean_lm1b(text: str) -> str:
    """One Billion Words: punctuation, brackets, quotes, currency signs and links closed up."""
    return _clean_lm1b(text)


def clean_lambada(text: str) -> str:
    """LAMBADA: straight quotes, and a line break in front, as GPT-2's evaluation has it."""
    return "\n" + text.replace("“", '"').replace("”", '"').strip()


def clean_scientific_papers(text: str) -> str:
    """arXiv and PubMed: WikiText's rules, then LM1B's."""
    return clean_lm1b(clean_wikitext(text))
