"""The index of the paper names files, tests, recipes and settings that exist, and every recipe of the paper's rows."""

from __future__ import annotations

import ast
import re
from dataclasses import fields
from pathlib import Path

from helpers.examples import evaluate_ladd, recipes

from ladd_hf import LaddConfig, LaddTrainingArguments
from ladd_hf.data import known_corpora

ROOT = Path(__file__).resolve().parents[3]
PAGE = (ROOT / "docs" / "paper_index.md").read_text()
CODE = re.findall(r"`([^`\n]+)`", PAGE)


def named(pattern):
    return {match for match in CODE if re.fullmatch(pattern, match)}


def test_every_test_it_names_exists():
    tests = named(r"[\w/]+\.py::test_\w+")
    assert len(tests) > 30
    for test in tests:
        file, name = test.split("::")
        tree = ast.parse((ROOT / "tests" / file).read_text())
        assert name in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}, test


def test_every_file_and_folder_it_names_exists():
    sources, tests = named(r"[\w/]+\.py"), named(r"[\w/]*test_\w+\.py")
    for name in sources - tests:
        assert (ROOT / "src" / "ladd_hf" / name).is_file(), name
    for name in tests:
        assert (ROOT / "tests" / name).is_file(), name
    for name in named(r"[\w/]+\.json") | named(r"[\w/]+/"):
        assert (ROOT / name).exists(), name
    assert len(sources) > 15


def test_its_recipes_are_those_there_are():
    named_recipes = named(r"[\w-]+\.yaml")
    there_are = {path.name for path in (ROOT / "examples" / "configs").glob("*.yaml")}
    assert named_recipes <= there_are
    assert {
        name for name in there_are if not name.startswith(("python-docs", "package-docs", "own-texts"))
    } <= named_recipes


def test_every_setting_it_names_exists():
    ours = (recipes.RunArguments, recipes.ModelArguments, recipes.SchedulerArguments, evaluate_ladd.EvaluationArguments)
    kinds = (LaddConfig, LaddTrainingArguments, *ours)
    known = {field.name for kind in kinds for field in fields(kind)}
    flags = {match.group(1) for code in CODE if (match := re.fullmatch(r"--(\w+) \S+", code))}
    settings = {match.group(1) for code in CODE if (match := re.fullmatch(r"(\w+_\w+)(: \w+)?", code))}
    assert flags and len(settings) > 10
    assert flags <= known
    values = {"last_layer", "skips_masked_tokens", *known_corpora()}
    assert settings - values <= known


def test_zero_shot_perplexities_are_measured_on_the_splits_that_the_page_tells():
    (row,) = re.findall(r"^\| PTB, .*zero-shot.*$", PAGE, re.MULTILINE)
    command, *others = re.findall(r"`(ladd evaluate [^`]*)`", row)
    assert not others
    first = evaluate_ladd.parse_arguments(command.split()[2:])
    validation, test = re.fullmatch(r".*?`, and so (.*?); (.*?) with `--split test`; .*", row).groups()
    splits = dict.fromkeys([first.data, *re.findall(r"`(\w+)`", validation)], first.split)
    splits |= dict.fromkeys(re.findall(r"`(\w+)`", test), "test")
    names = {"PTB": "ptb", "WikiText-103": "wikitext103", "arXiv": "arxiv", "PubMed": "pubmed"}
    names |= {"LM1B": "lm1b", "LAMBADA": "lambada", "AG News": "ag_news"}
    assert set(splits) == {names[name] for name in row.split(" | ")[0].removeprefix("| ").split(", ")}
    assert all(split in known_corpora()[name].splits for name, split in splits.items())
    told = re.search(
        r"They measure on the validation split of (.*?) and\s+on the test split of the others", PAGE
    ).group(1)
    validated = {names[name] for name in re.split(r", | and ", told)}
    assert {name for name, split in splits.items() if split == "validation"} == validated
    assert (first.length, first.packing, first.special_tokens) == (512, "wrap", False)


def test_its_sums_of_hours_are_those_of_the_authors_estimates():
    estimates = {"text8": (45, 137, 102), "LM1B": (296, 425, 430), "OpenWebText": (1296, 1760, 1786)}
    for hours in estimates.values():
        for part in (*hours, sum(hours)):
            assert re.search(rf"\b{part:,}\b", PAGE), part
