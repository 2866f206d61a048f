"""`ladd generate`, `infill`, `encode`, `vary` and `mix`: what the pipeline writes, for people and for programs."""

from __future__ import annotations

import json
import shutil

import pytest
import torch

from ladd_hf import LaddJointScheduler, LaddPipeline, RowGenerator, included_pipeline


@pytest.fixture(scope="module")
def pipe(models):
    pipe = LaddPipeline.from_pretrained(models / "discrete")
    pipe.set_progress_bar_config(disable=True)
    return pipe


def rows(seed, count):
    return RowGenerator.from_seed(seed, torch.arange(count))


def texts_of(said):
    return [one["text"] for one in said.document["samples"]]


def test_people_read_the_texts_that_programs_read(ladd, models):
    words = ("generate", models / "discrete", "-n", 3, "--steps", 4, "--seed", 5)
    told, found = ladd(*words), ladd(*words, "--json")
    assert [line.split("  ", 1) for line in told.lines] == [[f"{n}", text] for n, text in enumerate(texts_of(found), 1)]
    assert "4 evaluations each, seed 5" in told.err
    assert (found.document["seed"], found.document["nfe"]) == (5, 4)


def test_a_single_text_stands_alone_on_standard_output(ladd, models):
    said = ladd("generate", models / "discrete", "--steps", 2, "--seed", 5)
    assert said.out.rstrip("\n") in texts_of(ladd("generate", models / "discrete", "--steps", 2, "--seed", 5, "--json"))


@pytest.mark.parametrize("prompts", [(), ("ab", "cd")])
def test_a_file_of_samples_has_the_same_ones(ladd, models, tmp_path, prompts):
    (tmp_path / "prompts.txt").write_text("\n".join(prompts))
    given = ("--prompts", tmp_path / "prompts.txt") if prompts else ()
    where = ("--output", tmp_path / "samples.jsonl", "--cpu")
    ladd("write", models / "discrete", "--num_samples", 3, "--num_steps", 4, "--seed", 5, *given, *where)
    written = [json.loads(line)["text"] for line in (tmp_path / "samples.jsonl").read_text().splitlines()]
    found = texts_of(ladd("generate", models / "discrete", *prompts, "-n", 3, "--steps", 4, "--seed", 5, "--json"))
    assert sorted(found) == sorted(written) and len(found) == 3 * max(1, len(prompts))


def test_a_drawn_seed_is_told_and_gives_the_same_texts(ladd, models):
    first = ladd("generate", models / "discrete", "-n", 2, "--steps", 3, "--json")
    words = ("generate", models / "discrete", "-n", 2, "--steps", 3, "--seed", first.document["seed"], "--json")
    assert texts_of(ladd(*words)) == texts_of(first)


def test_each_text_begins_as_asked_for(ladd, models):
    samples = ladd("generate", models / "none", "abc", "de", "-n", 2, "--steps", 3, "--json").document["samples"]
    assert [one["prompt"] for one in samples] == ["abc", "abc", "de", "de"]
    assert all(one["text"].startswith(one["prompt"]) for one in samples)


def test_all_options_are_those_of_a_call(ladd, models, pipe):
    flags = "--temperature 0.5 --latent-temperature 0.7 --top-p 0.8 --length 7 --schedule joint --steps 5 --seed 3"
    found = texts_of(ladd("generate", models / "discrete", "a", "-n", 3, *flags.split(), "--json"))
    joint = LaddPipeline(pipe.model, LaddJointScheduler.from_config(pipe.scheduler.config), pipe.tokenizer)
    joint.set_progress_bar_config(disable=True)
    options = {"temperature": 0.5, "latent_temperature": 0.7, "top_p": 0.8, "length": 7, "num_steps": 5}
    assert found == joint("a", batch_size=3, generator=rows(3, 3), **options).texts


def test_a_pipeline_without_a_tokenizer_gives_ids(ladd, models):
    words = ("generate", models / "ids", "--length", 6, "--steps", 2, "--seed", 1)
    (sample,) = ladd(*words, "--json").document["samples"]
    assert len(sample["ids"]) == 6
    assert ladd(*words).lines == [" ".join(map(str, sample["ids"]))]


def test_the_way_from_masks_to_a_text_is_shown(ladd, models):
    said = ladd("generate", models / "discrete", "--steps", 3, "--seed", 2, "--watch")
    states = [line for line in said.lines if line.startswith("step ")]
    assert [line.split("   ")[0] for line in states] == [f"step {n} of 3" for n in range(4)]
    assert said.lines[-1] in said.lines[:-1], "the last state is the text"
    refused = ladd("generate", models / "discrete", "--watch", "--json").refusal
    assert "--watch shows states to people, and --json is for programs: give one of the two." in refused


def test_only_mask_tokens_are_filled_in(ladd, models):
    found = texts_of(ladd("infill", models / "none", "ab[MASK][MASK]ef", "-n", 8, "--steps", 2, "--json"))
    assert all(len(text) == 6 and (text[:2], text[4:]) == ("ab", "ef") for text in found) and len(set(found)) > 1
    refused = ladd("infill", models / "none", "abc").refusal
    assert "has no mask: put [MASK] in place of each token" in refused


@pytest.mark.parametrize("strength", [0.0, 0.6])
def test_variations_are_those_of_the_pipeline(ladd, models, pipe, strength):
    words = ("vary", models / "discrete", "abcdefgh", "-n", 3, "--strength", strength, "--steps", 4, "--seed", 3)
    expected = pipe.variations("abcdefgh", strength, 3, num_steps=4, generator=rows(3, 3))
    assert texts_of(ladd(*words, "--json")) == expected.texts


def test_mixtures_are_those_of_the_pipeline(ladd, models, pipe):
    words = ("mix", models / "discrete", "abcdefgh", "iiii", "-n", 3, "--steps", 4, "--seed", 3, "--json")
    expected = pipe.interpolate("abcdefgh", "iiii", 3, num_steps=4, generator=rows(3, 3))
    assert texts_of(ladd(*words)) == expected.texts and [len(text) for text in expected.texts] == [8, 6, 4]


@pytest.mark.parametrize("kind", ["discrete", "continuous"])
def test_latents_are_those_of_the_encoder(ladd, models, kind):
    torch.manual_seed(0)
    said = ladd("encode", models / kind, "abcdefgh", "ihgfed")
    torch.manual_seed(0)  # continuous latents are drawn
    document = ladd("encode", models / kind, "abcdefgh", "ihgfed", "--json").document
    torch.manual_seed(0)
    expected = LaddPipeline.from_pretrained(models / kind).encode(["abcdefgh", "ihgfed"]).tolist()
    assert [one["latents"] for one in document["texts"]] == expected and document["latent_type"] == kind
    shown = {
        "discrete": lambda latents: [" ".join(map(str, latents))],
        "continuous": lambda latents: [" ".join(f"{number:7.3f}" for number in one) for one in latents],
    }[kind]
    assert said.lines == ["abcdefgh", *shown(expected[0]), "ihgfed", *shown(expected[1])]


def test_control_characters_do_nothing_to_a_terminal(ladd, models, monkeypatch):
    monkeypatch.setattr(LaddPipeline, "__call__", _writes("red: \x1b[31m\nand\tmore\x00"))
    said = ladd("generate", models / "discrete", "--seed", 1)
    assert said.out == "red: \\x1b[31m\nand\tmore\\x00\n"
    assert texts_of(ladd("generate", models / "discrete", "--seed", 1, "--json")) == ["red: \x1b[31m\nand\tmore\x00"]


def _writes(text):
    from ladd_hf import LaddPipelineOutput

    def call(self, *args, **options):
        return LaddPipelineOutput(sequences=torch.zeros(1, 4).long(), texts=[text], lengths=torch.tensor([4]), nfe=1)

    return call


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("generate {models}/discrete -n 0", "--num-samples is 0; give a whole number of at least 1."),
        ("generate {models}/discrete --steps -3", "--steps is -3; give a whole number of at least 1."),
        ("generate {models}/discrete --seed 99999999999999999999", "give a whole number that 64 bits hold"),
        ("generate {models}/discrete --schedule spiral", "--schedule spiral is unknown; give joint, sequential"),
        ("generate {models}/discrete --dtype int4", "--dtype int4 is unknown; give float32, bfloat16 or float16."),
        ("generate {models}/discrete --top-p 2", "`top_p` is 2.0"),
        ("generate {models}/none --latent-temperature 0.5", "the model has no latents: give `temperature`"),
        ("generate {models}/ids abc", "the pipeline has no tokenizer"),
        ("vary {models}/discrete abcdefgh --strength 2", "--strength is 2; give a number from 0"),
        ("vary {models}/none abcdefgh", "This model has no latents"),
        ("encode {models}/discrete ab", "fewer than `latent_length` (4)"),
        ("generate {models}/nowhere", "cannot be loaded: there is no such folder: give one that holds a pipeline"),
        ("encode nowhere abc", "nowhere cannot be loaded: there is no such folder"),
    ],
)
def test_a_wrong_value_is_refused_in_a_sentence(ladd, models, words, said):
    refusal = ladd(*words.format(models=models).split()).refusal
    assert refusal.startswith(f"ladd {words.split()[0]}: error: ") and said in refusal


def test_tokens_that_wait_and_the_likeliest_of_them_can_be_asked_for(ladd, models, pipe):
    words = ("generate", models / "discrete", "-n", 2, "--steps", 4, "--seed", 5, "--json")
    said = ladd(*words, "--schedule", "joint", "--token-waiting", "until_known", "--top-k", 1)
    waiting = LaddPipeline(
        pipe.model, LaddJointScheduler.from_config(pipe.scheduler.config, token_waiting="until_known"), pipe.tokenizer
    )
    waiting.set_progress_bar_config(disable=True)
    assert texts_of(said) == waiting(num_steps=4, batch_size=2, generator=rows(5, 2), top_k=1).texts
    assert texts_of(said) != texts_of(ladd(*words, "--schedule", "joint"))


def test_a_waiting_that_does_not_exist_is_refused(ladd, models):
    said = ladd("generate", models / "discrete", "--token-waiting", "forever")
    assert "--token-waiting forever is unknown; give one of" in said.refusal
    assert "--top-k" in ladd("generate", models / "discrete", "--top-k", 0).refusal


def test_an_included_pipeline_is_found_by_its_name_after_a_folder(ladd, models, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    words = ("generate", "python-docs-di", "the file ", "-n", 2, "--steps", 4, "--seed", 5, "--json", "--cpu")
    said = ladd(*words)
    own = LaddPipeline.from_pretrained(included_pipeline("python-docs-di"), dtype=torch.float32)
    own.set_progress_bar_config(disable=True)
    assert texts_of(said) == own(["the file "] * 2, num_steps=4, generator=rows(5, 2)).texts
    assert ladd("info", "python-docs-di", "--json").document["kind"] == "Di-LADD"
    shutil.copytree(models / "discrete", "python-docs-di")
    assert texts_of(ladd("generate", "python-docs-di", "--steps", 4, "--seed", 5, "--json")) != texts_of(said)
    assert "or an included pipeline, python-docs-di" in ladd("generate", "python-docs-dj").refusal


def test_flags_with_underscores_and_those_of_write_are_understood_too(ladd, models):
    dashes = "--num-samples 2 --steps 3 --latent-temperature 0.5 --top-k 3 --seed 4 --json"
    others = "--num_samples 2 --num_steps 3 --latent_temperature 0.5 --top_k 3 --seed 4 --json"
    found = ladd("generate", models / "discrete", *dashes.split())
    assert ladd("generate", models / "discrete", *others.split()).document == found.document


def test_write_understands_the_flags_of_generate(ladd, models, tmp_path):
    for name, flags in (("a", "-n 2 --steps 3"), ("b", "--num_samples 2 --num_steps 3")):
        assert ladd("write", models / "none", *flags.split(), "--cpu", "--output", tmp_path / name).code == 0
    assert (tmp_path / "a").read_text() == (tmp_path / "b").read_text()
    assert len((tmp_path / "a").read_text().splitlines()) == 2


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("generate", "The caffè"), ["'The caffè' is read as 'the caff ', in the symbols of the model."]),
        (("generate", "the cafe ", "[MASK]he cafe"), []),
        (("generate", "A", "A", "b"), ["'A' is read as 'a', in the symbols of the model."]),
        (("infill", "[MASK]A"), ["'[MASK]A' is read as '[MASK]a', in the symbols of the model."]),
        (("encode", "the file object is a 1"), ["'the file object is a 1' is read as 'the file object is a one '"]),
        (("vary", "The file object is it"), ["'The file object is it' is read as 'the file object is it'"]),
        (("mix", "The file object is it", "a file object it is"), ["'The file object is it' is read"]),
    ],
)
def test_what_the_tokenizer_reads_otherwise_is_told(ladd, words, told):
    command, *texts = words
    few = () if command == "encode" else ("--steps", 2, "--seed", 1)
    said = ladd(command, "python-docs-di", *texts, *few, "--json")
    lines = [line for line in said.err.splitlines() if " is read as " in line]
    assert said.code == 0 and len(lines) == len(told)
    assert all(line.startswith(one) for line, one in zip(lines, told, strict=True))


def test_texts_that_are_too_long_are_told_how_long_they_may_be(ladd):
    long = "the cat sat on the mat and looked at the birds which sang in the trees near the lake"
    for command, more in (("encode", ()), ("vary", ()), ("mix", ("the file object is it",))):
        assert (
            "the encoder takes 16 to 64 each: give texts of such"
            in ladd(command, "python-docs-di", long, *more).refusal
        )
    refusal = ladd("generate", "python-docs-di", long).refusal
    assert "has 84 tokens, more than the `length` 64: shorten it" in refusal
    refusal = ladd("generate", "python-docs-di", long[:40], "--length", 20).refusal
    assert "has 40 tokens, more than the `length` 20: shorten it, or give a `length` of up to 64" in refusal


def test_the_folder_of_a_training_is_pointed_to_its_pipelines(ladd, models):
    refusal = ladd("generate", models).refusal
    assert f"the folder holds pipelines and is none itself: give {models / 'anchors'} or " in refusal
    assert "did you mean python-docs-di? Give one" in ladd("info", "python-docs-dj").refusal


@pytest.mark.parametrize("schedule", ["foo", "tokens"])
def test_a_schedule_that_no_text_can_be_written_by_is_unknown(ladd, models, schedule):
    refusal = ladd("generate", models / "discrete", "--schedule", schedule).refusal
    assert f"--schedule {schedule} is unknown; give joint, sequential" in refusal and "or corners, such as" in refusal


def test_a_strength_is_a_share(ladd, models):
    refusal = ladd("vary", models / "discrete", "abcdefgh", "--strength", 3).refusal
    assert "--strength is 3; give a number from 0, which keeps the text's latents, to 1" in refusal
