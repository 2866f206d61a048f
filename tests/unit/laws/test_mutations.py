"""The list of mutations is about the source as it is; `tests/mutations.py` tries them."""

from __future__ import annotations

import pytest
from mutations import MUTATIONS, ROOT


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda mutation: mutation.name)
def test_each_mutation_finds_its_piece_once_and_its_tests(mutation):
    source = (ROOT / "src" / "ladd_hf" / mutation.file).read_text()
    assert source.count(mutation.old) == 1 and mutation.old != mutation.new
    assert (ROOT / mutation.caught_by).is_file()


def test_each_mutation_is_in_the_documents_table():
    table = (ROOT / "docs" / "laws.md").read_text()
    assert [m.name for m in MUTATIONS if f"| {m.name} | `{m.caught_by}` |" not in table] == []
