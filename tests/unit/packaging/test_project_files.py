"""Files for those who work on the project: what they name is there, and workflows run what the README says."""

from __future__ import annotations

import os
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml
from helpers.browser import NAMES, REQUIRED
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

ROOT = Path(__file__).resolve().parents[3]
GITHUB = ROOT / ".github"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
WORKFLOWS = sorted((GITHUB / "workflows").iterdir())
FORMS = sorted(path for path in (GITHUB / "ISSUE_TEMPLATE").iterdir() if path.name != "config.yml")
FIELDS = {"input", "textarea", "dropdown", "checkboxes"}
PAGES = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md")), GITHUB / "pull_request_template.md"]
# Begins of paths of this repository, as pages name them between backticks.
PLACES = r"(?:\.ci|\.github|benchmarks|docs|examples|src|tests)/|(?:constraints\.txt|pyproject\.toml|[A-Z_]+\.md)$"


def name_of(path: Path) -> str:
    return path.name


def loaded(path: Path) -> Any:
    """The YAML of a file. Its `on` is a truth value to YAML 1.1."""
    return yaml.safe_load(path.read_text("utf-8"))


def jobs(path: Path) -> list[dict[str, Any]]:
    return list(loaded(path)["jobs"].values())


def commands(path: Path) -> list[str]:
    return [step["run"] for job in jobs(path) for step in job["steps"] if "run" in step]


def pythons(path: Path) -> list[str]:
    """The versions of Python that a workflow sets up, with those of its matrix in place of the reference to it."""
    found = []
    for job in jobs(path):
        for step in job["steps"]:
            version = step.get("with", {}).get("python-version")
            if version == "${{ matrix.python-version }}":
                found += job["strategy"]["matrix"]["python-version"]
            elif version is not None:
                found.append(version)
    return found


def supported() -> list[str]:
    """The versions of Python in the classifiers."""
    lines = (re.fullmatch(r"Programming Language :: Python :: (3\.\d+)", line) for line in PROJECT["classifiers"])
    return [line[1] for line in lines if line]


def slug(heading: str) -> str:
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


# --- workflows ---


@pytest.mark.parametrize("path", WORKFLOWS, ids=name_of)
def test_a_workflow_runs_on_changes_may_only_read_and_ends(path):
    workflow = loaded(path)
    assert {"push", "pull_request"} <= workflow[True].keys()
    assert workflow["permissions"] == {"contents": "read"}
    assert all(job["timeout-minutes"] <= 120 for job in jobs(path))


@pytest.mark.parametrize("path", WORKFLOWS, ids=name_of)
def test_a_workflow_runs_scripts_of_this_repository(path):
    assert commands(path)
    for command in commands(path):
        script = ROOT / command.split()[0]
        assert script.is_file() and os.access(script, os.X_OK), command


def test_the_tests_run_on_every_supported_python_and_nothing_runs_on_another():
    assert pythons(GITHUB / "workflows" / "tests.yml") == supported()
    assert all(version in supported() for path in WORKFLOWS for version in pythons(path))


def test_supported_pythons_are_all_from_the_least_that_is_required_on():
    assert SpecifierSet(PROJECT["requires-python"]) == SpecifierSet(f">={supported()[0]}")
    first = int(supported()[0].removeprefix("3."))
    assert supported() == [f"3.{first + number}" for number in range(len(supported()))]


def test_the_tests_are_started_by_the_command_of_the_readme():
    assert commands(GITHUB / "workflows" / "tests.yml")[-1] == ".ci/run"
    pattern = re.search(r"grep -E -- '(.+?)' README\.md", (ROOT / ".ci" / "run").read_text("utf-8"))[1]
    (found,) = (line for line in readme() if re.search(pattern.replace("[[:space:]]", r"\s"), line))
    assert '-e ".[test]" && ' in found and found.endswith("/python -m pytest")


def test_the_page_is_tried_in_a_browser_by_the_workflow_and_left_out_without_one_elsewhere():
    workflow = GITHUB / "workflows" / "tests.yml"
    assert commands(workflow) == [".ci/chromium", ".ci/run"]
    (step,) = (step for job in jobs(workflow) for step in job["steps"] if step.get("run") == ".ci/run")
    assert step["env"] == {REQUIRED: "1"} and REQUIRED not in (ROOT / ".ci" / "run").read_text("utf-8")
    script = (ROOT / ".ci" / "chromium").read_text("utf-8")
    assert f"for name in {' '.join(NAMES)};" in script
    assert REQUIRED in (ROOT / "CONTRIBUTING.md").read_text("utf-8")


def readme() -> list[str]:
    return (ROOT / "README.md").read_text("utf-8").splitlines()


def test_the_wheel_alone_is_imported_and_tried_by_the_workflow_of_the_package():
    assert commands(GITHUB / "workflows" / "package.yml") == [".ci/package"]
    script = (ROOT / ".ci" / "package").read_text("utf-8")
    after = script.split('"$scratch/empty/bin/pip" install', 1)[1]
    assert re.findall(r"^empty/bin/python (\S+)(.*)$", after, re.MULTILINE) == [
        ("check_installed.py", ""),
        ("check_command.py", " empty/bin/ladd"),
    ]
    assert all((ROOT / ".ci" / name).is_file() for name in ("check_installed.py", "check_command.py"))


# --- forms ---


@pytest.mark.parametrize("path", FORMS, ids=name_of)
def test_a_form_asks_what_it_can_be_asked(path):
    form = loaded(path)
    assert form["name"] and form["description"] and form["labels"]
    fields = [part for part in form["body"] if part["type"] != "markdown"]
    assert fields and {part["type"] for part in fields} <= FIELDS
    assert len({part["id"] for part in fields}) == len(fields)
    assert all(part["attributes"]["label"] for part in fields)
    assert all(part["attributes"]["value"] for part in form["body"] if part["type"] == "markdown")
    assert all(part["attributes"]["options"] for part in fields if part["type"] in ("dropdown", "checkboxes"))


def test_there_is_a_form_for_bugs_and_one_for_proposals_and_they_have_different_names():
    names = [loaded(path)["name"] for path in FORMS]
    assert sorted(names) == ["Bug", "Proposal"]


# --- hooks ---


def test_hooks_run_tools_of_the_test_environment_and_fetch_nothing():
    (repository,) = loaded(ROOT / ".pre-commit-config.yaml")["repos"]
    assert repository["repo"] == "local"
    tools = {Requirement(line).name for line in PROJECT["optional-dependencies"]["test"]}
    for hook in repository["hooks"]:
        assert hook["language"] == "system" and hook["entry"].split()[0] in tools
        assert "--force-exclude" in hook["entry"]  # files are given by name, past what pyproject.toml leaves out


# --- pages ---


@pytest.mark.parametrize("path", PAGES, ids=name_of)
def test_links_of_a_page_lead_to_files_and_headings(path):
    for target in re.findall(r"\]\(([^)\s]+)\)", path.read_text("utf-8")):
        if re.match(r"[a-z]+:", target):
            continue
        file, _, anchor = target.partition("#")
        page = path.parent / file if file else path
        assert page.exists(), target
        if anchor:
            headings = re.findall(r"^#+ (.+)$", page.read_text("utf-8"), re.MULTILINE)
            assert anchor in map(slug, headings), target


@pytest.mark.parametrize("name", ["CONTRIBUTING.md", "RELEASE.md", "SECURITY.md"])
def test_what_a_page_names_is_there(name):
    page = (ROOT / name).read_text("utf-8")
    paths = [one for text in re.findall(r"`([^`\n]+)`", page) for one in text.split() if re.match(PLACES, one)]
    assert [one for one in paths if not (ROOT / one.split("::")[0]).exists()] == []


def test_what_travels_with_the_project_is_made_by_a_command_that_is_named():
    page = (ROOT / "CONTRIBUTING.md").read_text("utf-8")
    made = {"make_included_pipelines": "src/ladd_hf/included", "result_plot": "docs/pictures/result.png"}
    for script, path in made.items():
        assert f"| `python benchmarks/{script}.py" in page and (ROOT / path).exists()


def test_the_set_up_of_contributors_has_all_that_the_tests_need():
    page = (ROOT / "CONTRIBUTING.md").read_text("utf-8")
    (extra,) = re.findall(r'pip install -q -c constraints\.txt -e "\.\[(\w+)\]"', page)
    assert f"{PROJECT['name']}[test]" in PROJECT["optional-dependencies"][extra]
