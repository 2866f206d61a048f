"""The models of a page."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ..pipelines.pipeline_ladd import LaddPipeline


@dataclass(frozen=True, eq=False)
class Models:
    """A model, and one beside which it writes.

    Attributes:
        pipeline: of the model whose latents are shown.
        name: as `ladd` takes it, a folder or a repository.
        beside: another pipeline, such as an MDLM, that writes at the same cost; none if `None`.
        beside_name: its name.
        cpu: True if they were asked to stay on the CPU, which commands that are shown repeat.
    """

    pipeline: LaddPipeline
    name: str
    beside: LaddPipeline | None = None
    beside_name: str = ""
    cpu: bool = False

    @property
    def latents(self) -> str:
        """Kind of the model's latents: `"discrete"`, `"continuous"` or `"none"`."""
        kind: str = self.pipeline.model.config.latent_type
        return kind

    @property
    def titles(self) -> tuple[str, str]:
        """Names of both for headings: the last parts of their paths."""
        return _last_part(self.name), _last_part(self.beside_name)


def _last_part(name: str) -> str:
    path = Path(name)
    return (path.resolve() if name and path.exists() else path).name
