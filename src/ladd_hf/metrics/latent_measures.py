"""The measures `code_usage` and `latent_usefulness`, with their options."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from ..utils.number_ranges import SEED
from ..utils.options import Options, option
from .bootstrap import Estimate
from .clean_batches import Batch
from .code_usage import code_usage, usage_scores
from .latent_usefulness import TOKEN_TIMES, check_token_times, latent_usefulness, score_name, usefulness_scores
from .model_measures import ModelNumber, register_model_measure

_GIVEN = {
    "true": ("the text's own latents", "lower"),
    "shuffled": ("another text's latents", None),
    "none": ("no latents", None),
}
_GAINS = {"gain": "own latents are worth", "own_gain": "own latents are worth beside another text's"}


@register_model_measure("code_usage")
@dataclass(frozen=True)
class CodeUsageMeasure(Options):
    """Usage of the codebook of discrete latents; see [`code_usage`].

    Attributes:
        seed: of the bootstrap over texts.
    """

    setting: ClassVar[str] = "measures.code_usage"
    name: ClassVar[str] = "code_usage"
    numbers: ClassVar[tuple[ModelNumber, ...]] = (
        ModelNumber("codes_perplexity", "perplexity of the codes' frequencies", "higher", 2),
        ModelNumber("codes_used", "codes that occur", "higher", 1),
        ModelNumber("codes_dead", "codes that do not occur", "lower", 1),
    )
    seed: int = option(0, SEED)

    @property
    def about(self) -> str:
        """Definition."""
        return (
            "exp of the entropy of the frequencies of codes over all texts and positions, and how many of the "
            f"codebook's codes occur and do not; ± is over texts, by a bootstrap of seed {self.seed} and by a jackknife"
        )

    def lacking(self, config: Any) -> str | None:
        """Returns `codes` for any other model than one of discrete latents."""
        return None if config.latent_type == "discrete" else "codes"

    def scores(self, model: Any, batches: Iterable[Batch]) -> dict[str, Estimate]:
        """Returns `codes_perplexity`, `codes_used` and `codes_dead`."""
        return usage_scores(code_usage(model, batches, seed=self.seed))


@register_model_measure("latent_usefulness")
@dataclass(frozen=True)
class LatentUsefulnessMeasure(Options):
    """Token loss with own, other and no latents; see [`latent_usefulness`].

    Attributes:
        token_times: values of t_x, above 0 and up to 1.
        seed: of the masks.
    """

    setting: ClassVar[str] = "measures.latent_usefulness"
    name: ClassVar[str] = "latent_usefulness"
    token_times: Sequence[float] = TOKEN_TIMES
    seed: int = option(0, SEED)

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "token_times", check_token_times(f"{self.setting}.token_times", self.token_times))

    @property
    def numbers(self) -> tuple[ModelNumber, ...]:
        """Five for each time."""
        found = []
        for time in self.token_times:
            at = f"at t_x = {time:.10g}"
            for kind, (given, better) in _GIVEN.items():
                text = f"nats per masked token {at}, given {given}"
                found.append(ModelNumber(score_name(kind, time), text, better))  # type: ignore[arg-type]
            for kind, worth in _GAINS.items():
                found.append(ModelNumber(score_name(kind, time), f"nats per masked token that {worth} {at}", "higher"))
        return tuple(found)

    @property
    def about(self) -> str:
        """Definition."""
        return (
            "cross-entropy of masked tokens given a text's own latents, another text's, and none, on the same masks of "
            f"seed {self.seed}, and what own ones are worth: none - true, and shuffled - true; ± is a bootstrap over "
            "texts, a paired one of the differences"
        )

    def lacking(self, config: Any) -> str | None:
        """Returns `latents` for a model without."""
        return "latents" if config.latent_type == "none" else None

    def scores(self, model: Any, batches: Iterable[Batch]) -> dict[str, Estimate]:
        """Returns `latents_true_<time>` and so on."""
        return usefulness_scores(latent_usefulness(model, batches, self.token_times, self.seed))
