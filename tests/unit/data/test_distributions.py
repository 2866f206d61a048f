"""A distribution is found by its record; its digest is that of its sources."""

from __future__ import annotations

import pickle

from helpers.distributions import install

from ladd_hf.data.distributions import installed

FILES = {"one/b.py": '"""B."""', "one/a.py": '"""A."""', "one/guide.rst": "A guide."}


def test_its_files_are_sources_and_texts_in_order_without_tests_copies_and_records(site):
    left_out = ("one/tests/a.py", "one/_vendor/x.py", "one/LICENSE.md", "one/x.so", "one/y.txt")
    others = dict.fromkeys(left_out, "Text.")
    install(site, "one", "1.5", {**FILES, **others}, description="About one.")
    found = installed("one")
    assert [str(file) for file in found.files] == sorted(FILES)
    assert (found.name, found.version, found.description.strip()) == ("one", "1.5", "About one.")
    assert found.read(found.files[0]) == b'"""A."""'


def test_what_is_not_installed_or_has_no_record_is_none(site):
    assert installed("one") is None
    install(site, "one", "1.5", FILES)
    (site / "one-1.5.dist-info" / "RECORD").unlink()
    assert installed("one") is None


def test_its_digest_is_that_of_its_sources_wherever_they_are(site):
    def digest(files=FILES, description="About.", hashed=True):
        install(site, "one", "1.5", files, description, hashed)
        return installed("one").digest

    first = digest()
    assert digest({**FILES, "one/x.so": "compiled", "one/__pycache__/a.pyc": "compiled"}) == first
    assert len({first, digest({**FILES, "one/a.py": '"""Other."""'}), digest(description="Other.")}) == 3
    unhashed = digest(hashed=False)
    assert digest({**FILES, "one/a.py": '"""C."""'}, hashed=False) != unhashed, "as long, and without a hash"


def test_it_is_sent_to_another_process_without_what_it_has_read(site):
    install(site, "one", "1.5", FILES)
    found = installed("one")
    found.read(found.files[0])
    assert pickle.loads(pickle.dumps(found)) == found and pickle.loads(pickle.dumps(found)).description == ""
