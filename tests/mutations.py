"""Breaks the mathematics in known ways and checks that the suite notices each of them.

    python tests/mutations.py              # all of them, a few minutes
    python tests/mutations.py weight ddpm  # those whose name contains one of these

Each mutation replaces one piece of a source file in a copy of the package and runs the tests named beside it against
the copy: at least one must fail. `tests/unit/laws/test_mutations.py` keeps the list true, and `docs/laws.md` shows it.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class Mutation:
    """One way to break the package: `old` becomes `new` in `file`, and `caught_by` must fail."""

    name: str
    file: str
    old: str
    new: str
    caught_by: str


MUTATIONS = [
    Mutation(
        "swap alpha_s and alpha_t",
        "diffusion/masked.py",
        "return (1 - alpha_s - remask * alpha_t) / (1 - alpha_t) if alpha_t < 1 else 0.0",
        "return 1 - (1 - alpha_s) / (1 - alpha_t) if 0 < alpha_s < 1 else 0.0",
        "tests/unit/laws/test_sampler_laws.py",
    ),
    Mutation(
        "reveal with the probability of the forward process",
        "diffusion/masked.py",
        "return (1 - alpha_s - remask * alpha_t) / (1 - alpha_t) if alpha_t < 1 else 0.0",
        "return 1 - (alpha_s - alpha_t)",
        "tests/unit/laws/test_sampler_laws.py",
    ),
    Mutation(
        "draw with float32 Gumbel noise",
        "diffusion/masked.py",
        "    probabilities = torch.softmax(logits, dim=-1)  # (n, K)\n",
        "    noise = torch.rand(logits.shape).clamp(1e-7, 1 - 1e-7)\n"
        "    return (logits.float() - (-noise.log()).log()).argmax(-1)\n"
        "    probabilities = torch.softmax(logits, dim=-1)  # (n, K)\n",
        "tests/unit/test_masked_diffusion.py",
    ),
    Mutation(
        "draw in float32",
        "diffusion/masked.py",
        "logits = logits.double()",
        "logits = logits.float()",
        "tests/unit/test_masked_diffusion.py",
    ),
    Mutation(
        "forget the last step",
        "pipelines/pipeline_ladd.py",
        "enumerate(scheduler.timesteps.tolist())",
        "enumerate(scheduler.timesteps.tolist()[:-1])",
        "tests/integration/pipelines/test_pipeline_ladd.py",
    ),
    Mutation(
        "leave masked tokens out at any time",
        "diffusion/latents_alone.py",
        "return (token_times == 1) & (latent_times > 0)",
        "return (token_times > 0) & (latent_times > 0)",
        "tests/unit/diffusion/test_latents_alone.py",
    ),
    Mutation(
        "leave visible tokens out",
        "diffusion/latents_alone.py",
        " & latents_move & ~visible.any(1)",
        " & latents_move",
        "tests/unit/diffusion/test_latents_alone.py",
    ),
    Mutation(
        "bound the latents of another evaluation than the sampler's",
        "diffusion/nelbo.py",
        "        output = alone.evaluate(\n            denoiser.denoise,\n",
        '        output = LatentsAlone("never", masking.mask_id).evaluate(\n            denoiser.denoise,\n',
        "tests/unit/laws/test_latents_alone_laws.py",
    ),
    Mutation(
        "let the mask token be written",
        "models/modeling_ladd.py",
        'head.bias.masked_fill(never, float("-inf"))',
        "head.bias.masked_fill(never, 20.0)",
        "tests/unit/test_modeling_ladd.py",
    ),
    Mutation(
        "give ids without a token a probability",
        "models/vocabulary.py",
        "never if self.tokenizer_size is None else never | (ids >= self.tokenizer_size)",
        "never",
        "tests/unit/test_vocabulary.py",
    ),
    Mutation(
        "let infinity into every range",
        "utils/number_ranges.py",
        "_SMALLEST_FLOAT <= abs(number) <= _LARGEST_FLOAT",
        "_SMALLEST_FLOAT <= abs(number)",
        "tests/unit/test_number_ranges.py",
    ),
    Mutation(
        "flip the sign of the schedule's derivative",
        "diffusion/noise_schedules.py",
        "return -self.degree * t ** (self.degree - 1)",
        "return self.degree * t ** (self.degree - 1)",
        "tests/unit/test_noise_schedules.py",
    ),
    Mutation(
        "flip the sign of the DDIM direction",
        "diffusion/gaussian.py",
        "return schedule.signal(s) * latents + schedule.noise(s) * direction",
        "return schedule.signal(s) * latents - schedule.noise(s) * direction",
        "tests/unit/laws/test_continuous_laws.py",
    ),
    Mutation(
        "forget the root of the DDPM variance",
        "diffusion/gaussian.py",
        "ddpm_variance(schedule, t, s).sqrt() * noise",
        "ddpm_variance(schedule, t, s) * noise",
        "tests/unit/laws/test_continuous_laws.py",
    ),
    Mutation(
        "drop the weight of the bound",
        "diffusion/terms.py",
        "rates * channel.schedule.weight(points.token_times)",
        "rates",
        "tests/integration/laws/test_bounds.py",
    ),
    Mutation(
        "let the latents of a tuned run go back",
        "diffusion/run_grid.py",
        "np.where(np.tri(len(self.y), k=-1, dtype=bool), np.inf, 0.0)",
        "np.zeros((len(self.y), len(self.y)))",
        "tests/unit/diffusion/test_optimal_runs.py",
    ),
    Mutation(
        "forget how likely it is that something is masked",
        "diffusion/loss_draws.py",
        "return probability * nats.sum(1)",
        "return nats.sum(1)",
        "tests/unit/diffusion/test_loss_measuring.py",
    ),
    Mutation(
        "take the losses where a step ends",
        "diffusion/loss_table.py",
        "steps = x[:-1], y[:-1], x[1:], y[1:]",
        "steps = x[1:], y[1:], x[1:], y[1:]",
        "tests/unit/diffusion/test_optimal_runs.py",
    ),
    Mutation(
        "drop the weight of the training loss",
        "diffusion/loss_terms.py",
        "token_weights(channel, times) if elbo else",
        "times.token_rates if elbo else",
        "tests/unit/test_objective.py",
    ),
    Mutation(
        "drop the rates of the path",
        "diffusion/terms.py",
        "torch.where(points.latent_rates > 0, points.latent_rates * integrand, 0.0)",
        "torch.where(points.latent_rates > 0, integrand, 0.0)",
        "tests/integration/laws/test_bounds.py",
    ),
    Mutation(
        "swap alpha_s and alpha_t in the bound of a run",
        "diffusion/masked_channels.py",
        "(alpha_s - alpha_t) / (1 - alpha_t)",
        "(alpha_s - alpha_t) / (1 - alpha_s.clamp(max=1 - 1e-9))",
        "tests/integration/laws/test_bounds.py",
    ),
    Mutation(
        "score visible codes too",
        "diffusion/masked_channels.py",
        "return self.cross_entropy(logits, clean) * (noisy == self.mask_id)",
        "return self.cross_entropy(logits, clean)",
        "tests/unit/test_latent_channels.py",
    ),
    Mutation(
        "walk the tokens first",
        "diffusion/paths.py",
        "SEQUENTIAL = TimePath(((1, 1), (1, 0), (0, 0)))",
        "SEQUENTIAL = TimePath(((1, 1), (0, 1), (0, 0)))",
        "tests/unit/laws/test_sampler_laws.py",
    ),
    Mutation(
        "use the other timestep spacing",
        "diffusion/paths.py",
        "math.cos(math.pi / 2 * done)",
        "1 - math.cos(math.pi / 2 * (1 - done))",
        "tests/unit/laws/test_sampler_laws.py",
    ),
    Mutation(
        "forget that remasked tokens are revealed more often",
        "diffusion/masked.py",
        "(1 - alpha_s - remask * alpha_t)",
        "(1 - alpha_s)",
        "tests/unit/laws/test_unmasking_laws.py",
    ),
    Mutation(
        "remask by the alphas the wrong way round",
        "schedulers/remasking.py",
        "return min(1.0, (1 - alpha_s) / alpha_t)",
        "return min(1.0, (1 - alpha_t) / max(alpha_s, 1e-9))",
        "tests/unit/laws/test_unmasking_laws.py",
    ),
    Mutation(
        "reveal tokens in the step that draws their code",
        "diffusion/token_waiting.py",
        "held = self.law.holding(channel.known(latents, t), channel.written(moves, s))",
        "held = self.law.holding(channel.known(latents, t), moves) & ~moves",
        "tests/unit/laws/test_waiting_laws.py",
    ),
    Mutation(
        "let tokens wait in the last step of a bound",
        "diffusion/marginal_bound.py",
        "if self.waiting is not None and s_x > 0:",
        "if self.waiting is not None:",
        "tests/unit/test_marginal_bound.py",
    ),
    Mutation(
        "mask the prompt again",
        "schedulers/reverse_step.py",
        "again if editable is None else again & editable",
        "again",
        "tests/integration/pipelines/test_visible_tokens.py",
    ),
    Mutation(
        "reveal the least sure tokens first",
        "schedulers/unmasking.py",
        "order[candidates] = -scores",
        "order[candidates] = scores",
        "tests/unit/laws/test_unmasking_laws.py",
    ),
    Mutation(
        "count the largest entropy against the bound too",
        "schedulers/adaptive_unmasking.py",
        "shared = entropies.cumsum(1) - entropies.cummax(1).values",
        "shared = entropies.cumsum(1)",
        "tests/unit/schedulers/test_adaptive_unmasking.py",
    ),
    Mutation(
        "reveal nothing where no token is above the threshold",
        "schedulers/adaptive_unmasking.py",
        "return above | none_above & ",
        "return above | ~candidates & none_above & ",
        "tests/unit/schedulers/test_adaptive_unmasking.py",
    ),
    Mutation(
        "unmask the first places instead of random ones",
        "schedulers/unmasking.py",
        "order = random.uniform(tokens.shape[1]).masked_fill",
        "order = (random.uniform(tokens.shape[1]) * 0).masked_fill",
        "tests/unit/laws/test_unmasking_laws.py",
    ),
    Mutation(
        "write from latents with noise as if they were clean",
        "diffusion/paths.py",
        "min(self.vertices[0][1], latent_time))], [], 0",
        "min(self.vertices[0][1], latent_time / 2))], [], 0",
        "tests/integration/pipelines/test_interpolation.py",
    ),
    Mutation(
        "leave the derivative out of a jump's target",
        "diffusion/average_velocity.py",
        "(prediction - sample) - change)",
        "(prediction - sample))",
        "tests/unit/diffusion/test_average_velocity.py",
    ),
    Mutation(
        "draw less noise anew than the share says",
        "diffusion/gaussian.py",
        "(1 - share**2) *",
        "(1 - share**3) *",
        "tests/unit/diffusion/test_average_velocity.py",
    ),
    Mutation(
        "let dropped latents jump",
        "diffusion/meanflow.py",
        "torch.where(dropped, 1.0, latent_times)",
        "latent_times",
        "tests/unit/test_flow_map.py",
    ),
    Mutation(
        "reverse the divergence of the consistency term",
        "diffusion/consistency.py",
        "F.kl_div(log, target_log,",
        "F.kl_div(target_log, log,",
        "tests/unit/diffusion/test_consistency.py",
    ),
    Mutation(
        "mask for the teacher what the student sees",
        "diffusion/consistency.py",
        "masked = batch.masked & (",
        "masked = batch.maskable & (",
        "tests/unit/diffusion/test_consistency.py",
    ),
    Mutation(
        "train the teacher of the consistency term",
        "diffusion/loss_terms.py",
        "with torch.no_grad():\n        target",
        "with torch.enable_grad():\n        target",
        "tests/unit/diffusion/test_consistency.py",
    ),
    Mutation(
        "let latents near an anchor follow y_t as if it were no weaker",
        "diffusion/anchored_latents.py",
        "gain = share.sqrt() * self.spread /",
        "gain = self.spread /",
        "tests/unit/laws/test_anchor_laws.py",
    ),
    Mutation(
        "forget how far latents are from their anchors",
        "diffusion/anchored_latents.py",
        "signal, variance = share.sqrt(), 1 - share + share * self.spread",
        "signal, variance = share.sqrt(), 1 - share",
        "tests/unit/laws/test_anchor_laws.py",
    ),
    Mutation(
        "count the last steps to an anchor twice",
        "diffusion/anchored_latents.py",
        "return above * rise * self.rate",
        "return rise * self.rate",
        "tests/unit/laws/test_anchor_laws.py",
    ),
    Mutation(
        "weigh an anchor by its length wrongly",
        "diffusion/anchored_latents.py",
        "share.square() * points.square().sum(-1) / 2",
        "share * points.square().sum(-1) / 2",
        "tests/unit/laws/test_anchor_laws.py",
    ),
    Mutation(
        "take v with the other sign",
        "diffusion/preconditioned_latents.py",
        "return self.sign * self.data_std * schedule.noise(t)",
        "return self.data_std * schedule.noise(t)",
        "tests/unit/laws/test_preconditioning_laws.py",
    ),
    Mutation(
        "take the deviation of the data for their variance",
        "diffusion/preconditioned_latents.py",
        "schedule.signal(t) * self.data_std**2 * noise",
        "schedule.signal(t) * self.data_std * noise",
        "tests/unit/laws/test_preconditioning_laws.py",
    ),
    Mutation(
        "bound the error of y_0 by that of the network's output",
        "diffusion/preconditioned_latents.py",
        "self.preconditioning.out(self.schedule, self._times(t, error)).square()",
        "self.preconditioning.out(self.schedule, self._times(t, error)).abs()",
        "tests/unit/laws/test_preconditioning_laws.py",
    ),
    Mutation(
        "condition all examples on themselves",
        "diffusion/self_conditioning.py",
        "(random.uniform() < _SHARE)",
        "(random.uniform() < 1)",
        "tests/unit/test_self_conditioning.py",
    ),
    Mutation(
        "estimate latents that are dropped",
        "diffusion/self_conditioning.py",
        " & ~latents.dropped & (times > 0)",
        " & (times > 0)",
        "tests/unit/test_self_conditioning.py",
    ),
    Mutation(
        "learn through the estimate",
        "diffusion/self_conditioning.py",
        "    with torch.no_grad(), uncached_autocast(noisy):\n"
        "        output = latents_at(denoiser, batch, rows, noisy, times)\n"
        "        found = channel.estimate(output.latent_prediction, noisy, times)\n"
        "    estimate = torch.zeros_like(latents.noisy).index_put((rows,), found.detach())\n",
        "    output = latents_at(denoiser, batch, rows, noisy, times)\n"
        "    found = channel.estimate(output.latent_prediction, noisy, times)\n"
        "    estimate = torch.zeros_like(latents.noisy).index_put((rows,), found)\n",
        "tests/unit/test_self_conditioning.py",
    ),
    Mutation(
        "keep the estimate that was asked for nothing",
        "diffusion/self_conditioning.py",
        "return torch.where(chosen[:, None, None], estimate, 0)",
        "return estimate",
        "tests/unit/test_self_conditioning.py",
    ),
    Mutation(
        "weigh draws by how often they come",
        "diffusion/time_density.py",
        "1 / (len(ends) * share)",
        "len(ends) * share",
        "tests/unit/diffusion/test_time_density.py",
    ),
    Mutation(
        "draw times in proportion to the squared loss",
        "diffusion/time_density.py",
        "((squares + mean) / (counts + 1)).sqrt()",
        "((squares + mean) / (counts + 1))",
        "tests/unit/diffusion/test_time_density.py",
    ),
    Mutation(
        "never forget where the loss was large",
        "diffusion/time_density.py",
        "_DECAY * self.moments.to(moments) + moments",
        "self.moments.to(moments) + moments",
        "tests/unit/diffusion/test_time_density.py",
    ),
    Mutation(
        "guide towards the unconditional law",
        "pipelines/guidance.py",
        "without + self.guidance_scale * (given - without)",
        "given + self.guidance_scale * (without - given)",
        "tests/integration/pipelines/test_pipeline_guidance.py",
    ),
    Mutation(
        "let guidance move the latents by the unconditional half",
        "pipelines/guidance.py",
        "output.latent_prediction[:rows]",
        "output.latent_prediction[rows:]",
        "tests/integration/pipelines/test_pipeline_guidance.py",
    ),
    Mutation(
        "drop the weight of the latents' loss",
        "diffusion/loss_terms.py",
        "loss = latent_terms(channel, prediction, clean, latents.noisy, times) / clean.shape[1]",
        "loss = times.latent_rates * channel.loss(prediction, clean, latents.noisy, times.latent_times)",
        "tests/integration/laws/test_gradients.py",
    ),
    Mutation(
        "let padding be noised and scored",
        "diffusion/step_counts.py",
        "return maskable if attention_mask is None else maskable & attention_mask.bool()",
        "return maskable",
        "tests/integration/test_modeling_training.py",
    ),
    Mutation(
        "cut the encoder's gradient through the codes",
        "diffusion/noising.py",
        'of_latents["latent_vectors"] = seen',
        'of_latents["latent_vectors"] = seen.detach()',
        "tests/integration/test_modeling_training.py",
    ),
    Mutation(
        "let a row's randomness depend on its place in the batch",
        "diffusion/rng.py",
        "return _mix(self.keys[:, None] + places * _GOLDEN)",
        "return _mix(self.keys[:, None] + torch.arange(len(self.keys))[:, None] + places * _GOLDEN)",
        "tests/unit/test_randomness.py",
    ),
]


def survives(mutation: Mutation) -> bool:
    """True if the tests pass on a package broken in this way."""
    with tempfile.TemporaryDirectory() as folder:
        package = Path(folder) / "ladd_hf"
        shutil.copytree(ROOT / "src" / "ladd_hf", package, ignore=shutil.ignore_patterns("__pycache__"))
        path = package / mutation.file
        path.write_text(path.read_text().replace(mutation.old, mutation.new))
        command = [sys.executable, "-m", "pytest", "-q", "-x", "-n=0", "-p", "no:cacheprovider", mutation.caught_by]
        environment = {**os.environ, "PYTHONPATH": folder}
        process = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    if process.returncode not in (0, 1):  # neither passed nor failed: they did not run
        raise RuntimeError(process.stdout[-2000:] + process.stderr[-2000:])
    return process.returncode == 0


def main(wanted: list[str]) -> int:
    """Tries the mutations; returns how many nobody noticed."""
    alive = 0
    for mutation in MUTATIONS:
        if wanted and not any(word in mutation.name for word in wanted):
            continue
        survived = survives(mutation)
        alive += survived
        print(f"{'SURVIVES' if survived else 'caught  '}  {mutation.name}  ({mutation.caught_by})", flush=True)
    return alive


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
