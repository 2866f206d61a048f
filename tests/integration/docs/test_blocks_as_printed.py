"""Every Python block of the README and of docs/ runs as it is printed, and gives what its page says.

The blocks of a page run in their order, in a namespace that starts empty, in an empty folder, and without a network.
"""

from __future__ import annotations

import itertools
import re
import socket

import pytest
import torch
from helpers import printed_blocks
from helpers.printed_blocks import ROOT, blocks, pages, run_page
from helpers.registries import kept

from ladd_hf import LaddForDiffusionLM, LaddPipeline, LaddTunedScheduler

# Pages that another module runs, and why.
ELSEWHERE = {"docs/ecosystem.md": ("tests/process/docs/test_ecosystem.py", "it pushes to a Hub, which takes a process")}


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    """A cache of data sets: the pages read the same corpus, which takes seconds to make."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path_factory.mktemp("cache"))
        yield


@pytest.fixture
def place(cache, tmp_path, monkeypatch, torch_seed):
    """An empty working folder, without a network; what a page registers is forgotten."""
    asked = []

    def refuse(host, *_, **__):
        asked.append(host)
        raise OSError(f"{host!r} is asked for, and there is no network")

    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr("evaluate.config.HF_METRICS_CACHE", str(tmp_path / "metrics"))
    folder = tmp_path / "work"
    folder.mkdir()
    monkeypatch.chdir(folder)
    with kept():
        yield folder
    assert not asked


def readme(page, folder, said):
    assert page["output"].nfe == 8 and page["pipe"].tokenizer is not None
    assert (folder / "my-pipeline" / "model_index.json").is_file()


def architecture(page, folder, said):
    # choices by name: the saved model has the quantiser
    model = LaddForDiffusionLM.from_pretrained("my-model")
    codes = model.encode_latents(torch.randint(0, 10, (5, 12)))
    assert codes.shape == (5, 4) and codes.min() >= 0 and codes.max() < 8
    vectors = model.quantizer.codes_to_vectors(codes)
    assert torch.equal(model.quantizer(vectors, True).codes, codes) and (vectors.abs() == 0.5).all()
    # a path
    assert page["written"].nfe == 8 and page["written"].sequences.shape == (2, 12)
    scheduler = LaddPipeline.from_pretrained("my-pipeline").scheduler
    scheduler.set_timesteps(8)
    assert scheduler.path.vertices == ((1, 1), (1, 0.3), (0, 0))
    assert [scheduler.moves_tokens(step) for step in range(8)] == [False] * 2 + [True] * 6
    assert page["bound"].nats_per_token > 0
    # a loss term
    parts = page["output"].loss_parts
    plain = page["model"](
        input_ids=page["texts"], labels=page["texts"], noise=page["TrainingNoise"](0, torch.arange(4))
    )
    torch.testing.assert_close(page["output"].loss, plain.loss + 1e-4 * parts["log_partition"])
    # a metric
    assert 1 / 12 <= page["judgement"]["distinct"] <= 2 / 12 and page["judgement"]["nats"] > 0
    # a judge
    assert 0 < page["with_ones"]["ones"] < 1 and page["with_ones"]["ones_stderr"] > 0
    # a corpus
    assert page["corpus"]["train"]["text"][1] == "A clock."


def data(page, folder, said):
    assert page["trainer"].state.global_step == 4 == page["tuner"].state.global_step
    assert len(page["own"]["train"]) == 2 and len(page["lines"]) == 400 and len(page["test"]) == 1
    assert set(page["alone"]) == {"train", "validation"}
    assert page["packed"].column_names == ["input_ids"] and len(page["examples"]) == 2
    eleven = [row["input_ids"].tolist() for row in itertools.islice(page["blocks"], 11)]
    assert [row.tolist() for row in [*page["first"], page["eleventh"]["input_ids"]]] == eleven


def encoders(page, folder, said):
    assert page["latents"].shape == (1, 4, 8)
    (stated,) = re.findall(r"says what they take on disk: (.*)", (ROOT / "docs" / "encoders.md").read_text())
    assert stated in said
    assert len(LaddPipeline.from_pretrained("my-pipeline")(num_steps=4, batch_size=2).texts) == 2


def generation(page, folder, said):
    pipe, processor = page["pipe"], page["LettersFirst"]()
    sequences = pipe(num_steps=4, batch_size=20, logits_processor=[processor]).sequences
    assert (sequences == page["space"]).any() and not (sequences[:, :10] == page["space"]).any()
    written = pipe("the [MASK][MASK][MASK][MASK] object", num_steps=4, length="prompt").texts[0]
    assert re.fullmatch("the [a-z ]{4} object", written)
    names = [pipe(page["texts"], num_steps=4, num_samples_per_prompt=3).texts[row] for row in (0, 2, 3, 5)]
    starts = [page["texts"][row] for row in (0, 0, 1, 1)]
    assert all(text.startswith(start) for text, start in zip(names, starts, strict=True))
    assert pipe(num_steps=16, skip_idle_rows=True).nfe <= 16
    assert page["trajectory"].written.shape == (2, 64) and (folder / "sample.gif").is_file()
    assert torch.equal(page["step"].prev_sample[:, :3], page["clean"][:, :3])
    assert not page["step"].transfer_index[:, :3].any()


def getting_started(page, folder, said):
    assert page["trainer"].state.global_step == 30
    assert page["output"].nfe == 8 and page["output"].sequences.shape == (4, 32)


def measuring(page, folder, said):
    measures = {"nats", "nats_stderr", "entropy", "distinct_2", "memorized"}
    assert measures < set(page["judgement"]) and measures < set(page["reference"])
    files = {path.name for path in (folder / "out" / "evaluation").iterdir()}
    assert files >= {"python-docs-mdlm.json", "python-docs-di.json", "table.md", "equal-cost.json"}
    at_one = [row for row in page["comparison"].results[-1].rows if row["schedule"] == "joint"]
    assert at_one and all("marginal_bound" in row for row in at_one)
    assert set(page["results"].rows[0]) > {"nats", "flops"} and "bound" not in page["results"].rows[0]
    assert 0 <= page["scores"]["results"]["endings"]["acc,none"] <= 1
    assert page["marginal"].effective.shape == (8,)
    assert "under judge" in said and "#### At equal floating-point operations" in said


def schedules(page, folder, said):
    assert page["written"].nfe == 4 and len(page["run"]) == 5
    assert tuple(page["run"][0]) == (1, 1) and tuple(page["run"][-1]) == (0, 0)
    assert type(page["pipe"].scheduler) is LaddTunedScheduler
    assert page["foreseen"].nats_per_token > 0 and page["measured"].nats_per_token > 0


def training(page, folder, said):
    lines = ["[('mdlm', 0), ('encoder', 1000), ('prior', 1300)]", "0.25", "16 4096", "0.5", "0.0 1.0", "table 33"]
    names = [f"eval_samples_{schedule}_{budget}_nats" for schedule in ("joint", "sequential") for budget in (2, 8)]
    lines += ["0.3 0.0", str(names), "latents and tokens 4", "True"]
    assert [line for line in said.splitlines() if not line.startswith("{")] == lines


SAYS = {
    "README.md": readme,
    **{f"docs/{page.__name__}.md": page for page in (architecture, data, encoders, generation, getting_started)},
    **{f"docs/{page.__name__}.md": page for page in (measuring, schedules, training)},
}


@pytest.mark.parametrize("page", [page for page in pages() if page not in ELSEWHERE])
def test_a_page_runs_as_printed(page, place, capsys):
    defined = run_page(page)
    SAYS[page](defined, place, capsys.readouterr().out)


@pytest.mark.parametrize("page", ELSEWHERE)
def test_a_page_that_another_module_runs_is_run_there(page):
    module, _ = ELSEWHERE[page]
    assert page in pages() and f'run_page("{page}")' in (ROOT / module).read_text()


def test_no_block_hides_behind_another_language():
    found = [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]
    languages = {language for page in found for _, language, _ in blocks(page.relative_to(ROOT))}
    assert languages <= {"python", "bash", "text", "yaml", ""}
    fences = sum(len(re.findall(r"^ *```.*python", page.read_text(), re.MULTILINE)) for page in found)
    assert fences == sum(language == "python" for page in pages() for _, language, _ in blocks(page)) >= 60


def test_a_wrong_block_is_named_by_its_page_and_line(tmp_path, monkeypatch):
    monkeypatch.setattr(printed_blocks, "ROOT", tmp_path)
    page = tmp_path / "page.md"
    page.write_text("Text.\n\n```python\none = 1\n```\n\n* a list\n\n  ```python\n  one\n  two\n  ```\n")
    with pytest.raises(AssertionError, match=r"page\.md, line 11, in the block of line 9: NameError: name 'two'"):
        run_page("page.md")
    page.write_text("Text.\n\n```python\none = 1\ntwo = = 2\n```\n")
    with pytest.raises(AssertionError, match=r"page\.md, line 5, in the block of line 3: SyntaxError"):
        run_page("page.md")
