"""A data set of the Hub with several configurations: each job can name one, and is told how."""

from __future__ import annotations

import datasets
import pytest

JOBS = {
    "train": ("train", "--output_dir", "out", "--use_cpu"),
    "evaluate": ("evaluate", "{models}/discrete", "--results", "out", "--cpu"),
    "tune": ("tune", "{models}/discrete", "--output", "out", "--cpu"),
    "distill": ("distill", "{models}/continuous", "--output_dir", "out", "--use_cpu"),
}


@pytest.fixture
def refusal(ladd, models, tmp_path, monkeypatch):
    """`refusal(job, *flags)`: what a job says where each data set of the Hub has the configurations `small` and
    `large`, and loading one stops with the name that was asked for."""

    def load(name, config=None, **options):
        if config is None:
            raise ValueError("Config name is missing.\nPlease pick one among the available configs: ['small', 'large']")
        raise ValueError(f"The configuration {config} of {name} was asked for.")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(datasets, "load_dataset", load)
    return lambda job, *flags: ladd(*(word.format(models=models) for word in JOBS[job]), *flags).refusal


@pytest.mark.parametrize("job", JOBS)
def test_a_job_is_told_the_flag_that_names_one_and_takes_it(refusal, job):
    assert "give one of 'small', 'large' as `config` (of a command `--data_config`)." in refusal(
        job, "--data", "user/any"
    )
    asked = refusal(job, "--data", "user/any", "--data_config", "large")
    assert "The configuration large of user/any was asked for." in asked


@pytest.mark.parametrize("job", JOBS)
@pytest.mark.parametrize(
    ("data", "said"),
    [
        ("python-docs", "is 'large', but only data sets of the Hub"),
        ("sawtooth", "`data_config` is 'large',"),
    ],
)
def test_what_has_no_configurations_is_not_asked_for_one(refusal, job, data, said):
    told = refusal(job, "--data", data, "--data_config", "large")
    assert said in told and "data_config" in told and "leave it out" in told


def test_a_recipe_may_name_one(refusal, tmp_path):
    (tmp_path / "mine.yaml").write_text("data: user/any\ndata_config: small\nmax_steps: 3\n")
    assert "The configuration small of user/any was asked for." in refusal("train", "--config", "mine.yaml")
