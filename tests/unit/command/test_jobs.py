"""Jobs are loaded when they are called, without looks for garbage meanwhile, and as before afterwards."""

from __future__ import annotations

import gc

import pytest

from ladd_command import jobs


@pytest.mark.parametrize("collects", [True, False])
@pytest.mark.parametrize("fails", [True, False])
def test_garbage_is_collected_after_the_imports_as_before_them(monkeypatch, collects, fails):
    seen = []

    def load(name):
        seen.append((name, gc.isenabled()))
        if fails:
            raise ImportError
        return jobs

    monkeypatch.setattr(jobs, "import_module", load)
    before = gc.isenabled()
    try:
        gc.enable() if collects else gc.disable()
        if fails:
            with pytest.raises(ImportError):
                jobs.job("some.job")
        else:
            assert jobs.job("some.job") is jobs.job
        assert gc.isenabled() is collects
    finally:
        gc.enable() if before else gc.disable()
        gc.unfreeze()
    assert seen == [("ladd_hf.cli.some", False)]
