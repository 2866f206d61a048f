"""Tokenised corpora are cleaned as papers on zero-shot perplexity clean them."""

from __future__ import annotations

import pytest

from ladd_hf.data.cleaning import clean_lambada, clean_lm1b, clean_ptb, clean_scientific_papers, clean_wikitext


@pytest.mark.parametrize(
    ("text", "cleaned"),
    [
        ("it 's the dogs ' bowl", "it's the dogs' bowl"),
        ("a 12 @-@ year @-@ old with 1 @,@ 000 @.@ 5 points", "a 12-year-old with 1,000.5 points"),
        ("one , two ; three : four . Five ! Six ? Seven", "one, two; three: four. Five! Six? Seven"),
        ("( in brackets ) [ and these ] { and those }", "(in brackets) [and these] {and those}"),
        ('he said " yes " at 20 ° C', 'he said "yes" at 20°C'),
        (" = = = Heading = = = \n Text", " === Heading ===\nText"),
        ("a size of N metres", "a size of 1 metres"),
        # a pass for each mark, in this order: two marks that share a space are both joined if they come in it
        ("a : ; b", "a:; b"),
        ("a ; : b", "a ;: b"),
        ("1 @,@ @.@ 2", "1,@.@ 2"),
        ("1 @.@ @-@ 2", "1 @.@-2"),
        ("nothing to do.", "nothing to do."),
    ],
)
def test_wikitext(text, cleaned):
    assert clean_wikitext(text) == cleaned


@pytest.mark.parametrize(
    ("text", "cleaned"),
    [
        ("mr. smith 's car does n't start", "mr. smith's car doesn't start"),
        ("the banks ' rates", "the banks' rates"),
        ("a gain of N N N points and $ N billion", "a gain of 1 1 1 points and $1 billion"),
        ("a\\/b is <unk>", "a/b is ?"),
        ("ends with N", "ends with N"),
    ],
)
def test_ptb(text, cleaned):
    assert clean_ptb(text) == cleaned


@pytest.mark.parametrize(
    ("text", "cleaned"),
    [
        ("She said : yes , no ; well .", "She said: yes, no; well."),
        ("It 's here . Is it ? No !", "It's here. Is it? No!"),
        ('" Quite so " ( he nodded ) [ twice ]', '"Quite so" (he nodded) [twice]'),
        ("$ 5 or £ 4 and / or http : / / example.org", "$5 or £4 and/or http://example.org"),
        ("https : / / example.org", "https://example.org"),
    ],
)
def test_lm1b(text, cleaned):
    assert clean_lm1b(text) == cleaned


def test_lambada():
    assert clean_lambada(" “ Yes , ” he said ") == '\n" Yes , " he said'


def test_scientific_papers_are_cleaned_by_both_sets_of_rules():
    text = "we use @xmath0 , see [ 1 ] . the cost is $ 5 ."
    assert clean_scientific_papers(text) == "we use @xmath0, see [1]. the cost is $5."
