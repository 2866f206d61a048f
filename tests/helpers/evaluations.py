"""A world, a task and results for tests of evaluations, in which all numbers are known."""

from __future__ import annotations

import torch

from helpers.exact_world import ExactWorld
from ladd_hf.diffusion.channels import EncodedLatents
from ladd_hf.diffusion.marginal_bound import marginal_nelbo
from ladd_hf.diffusion.nelbo import nelbo
from ladd_hf.diffusion.process import NoiseProcess
from ladd_hf.diffusion.rng import RowGenerator
from ladd_hf.diffusion.step_counts import maskable_tokens
from ladd_hf.evaluation import EvaluationResults, EvaluationSettings
from ladd_hf.metrics import bootstrap_ratio
from ladd_hf.tasks.base import Measure


class ExactModel(ExactWorld):
    """An exact world with bounds: its encoder gives the likeliest codes of a text."""

    @property
    def token_channel(self):
        return NoiseProcess.of(self.config).token_channel()

    @property
    def latent_channel(self):
        return NoiseProcess.of(self.config).latent_channel("ddpm")

    def denoise(self, input_ids, latents=None, **options):
        return self(input_ids, latents, **options)

    def encode(self, tokens, attention_mask=None, random=None, update_codebook=True):
        codes = self.predictions(tokens, torch.full((len(tokens), self.codes), self.codebook))[1].argmax(-1)
        nothing = torch.zeros(len(tokens))
        return EncodedLatents(codes[..., None].float(), nothing, codes, nothing.sum())

    def nelbo(
        self, ids, mask=None, generator=None, run=None, labels=None, num_samples=8, num_proposals=None, path=None
    ):
        text = self, ids, maskable_tokens(ids if labels is None else labels, mask), mask
        if num_proposals is None:
            return nelbo(*text, path, num_samples, generator, None, run)
        return marginal_nelbo(*text, run, num_proposals, random=generator)

    def nats_per_token(self, points):
        """What the world's own texts cost under a run of these points, by enumeration; exact."""
        return float(-(self.token_law() * self.run_law(points).log()).sum()) / self.length

    def score_of_samples(self, points):
        """What samples of such a run score under the world's own law, by enumeration."""
        return float(-(self.run_law(points) * self.token_law().log()).sum()) / self.length


class WorldTask:
    """Texts of a world, judged by its law."""

    name, exact, tokenizer, comparison = "toy, length 3", True, None, "closes"

    def __init__(self, world, number=400):
        self.world, self.length, self.number = world, world.length, number
        self.texts = world.without_codes().values[:, : world.length]

    @property
    def measures(self):
        return (Measure("nats", "nats per token", "nats under the toy's law", self._nats, "lower"),)

    def _nats(self, sequences):
        places = self.world.vocab ** torch.arange(self.length - 1, -1, -1)
        return bootstrap_ratio(-self.world.token_law().log()[(sequences * places).sum(1)].numpy() / self.length)

    @property
    def num_held_out(self):
        return self.number

    def eval_dataset(self, num_examples, seed):
        random = RowGenerator.from_seed(seed, torch.arange(min(num_examples, self.number)))
        law = self.world.token_law().cumsum(0)
        drawn = torch.searchsorted(law, random.uniform()).clamp(max=len(law) - 1)
        return [{"input_ids": self.texts[one]} for one in drawn]

    def judge(self, sequences):
        return self.measures[0].of(sequences).named("nats")

    def reference(self, num_samples=None):
        law = self.world.token_law()
        return {"nats": float(-(law * law.log()).sum()) / self.length}

    def reference_counts(self, num_samples=None):
        return {}


def results_of(name, rows, path=None, exact=False, metric="nats", **changes):
    """Results with rows (schedule, num_steps, flops, score), as they are saved."""
    measure = {"name": metric, "metric": "nats per character", "about": "nats", "better": "lower", "digits": 4}
    one = EvaluationResults(
        {"name": name, "method": "MDLM", "parameters": 12, "fingerprint": name[:2]},
        {"name": "texts", "length": 8, "measures": [measure], "exact": exact, "reference": {metric: 1.25}},
        EvaluationSettings(num_samples=7).data(),
        {"dtype": "float32", "hardware": "CPU", "versions": "1"},
        path=path,
    )
    for part, value in changes.items():
        getattr(one, part).update(value)
    for schedule, num_steps, flops, score in rows:
        row = {"schedule": schedule, "temperature": 1.0, "num_steps": num_steps, "nfe": num_steps, "flops": flops}
        one.rows.append(row | ({} if score is None else {metric: score, f"{metric}_stderr": 0.01}))
    return one


def numbers(rows):
    """Rows without what a machine's speed decides."""
    kept = [{name: value for name, value in row.items() if not name.startswith("seconds")} for row in rows]
    return kept
