"""diffusers loads a saved pipeline in a process that has not imported the package."""

from __future__ import annotations

import subprocess
import sys

from helpers.quickly import START

from ladd_hf import LaddJointScheduler, LaddPipeline


def test_loading_needs_no_import_of_the_package(stirred_model, tmp_path):
    LaddPipeline(stirred_model("none"), LaddJointScheduler()).save_pretrained(tmp_path)
    code = (
        "import sys\nfrom diffusers import DiffusionPipeline\nassert 'ladd_hf' not in sys.modules\n"
        f"print(type(DiffusionPipeline.from_pretrained({str(tmp_path)!r}, trust_remote_code=True)).__module__)"
    )
    process = subprocess.run([sys.executable, "-c", START + code], capture_output=True, text=True)
    assert "ladd_hf.pipelines" in process.stdout, process.stderr[-2000:]
