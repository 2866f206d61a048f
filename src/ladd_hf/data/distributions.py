"""Installed distributions as sources of texts: their versions, and those of their files that document them."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property
from importlib import metadata
from pathlib import Path, PurePosixPath

# Folders whose docstrings are about tests, or of another distribution, of which there is a copy.
_LEFT_OUT = {"test", "tests", "testing", "_testing", "vendor", "_vendor", "_vendored", "__pycache__"}


@dataclass(frozen=True)
class Distribution:
    """An installed distribution.

    Attributes:
        name, version: as installed.
        digest: of its description, and of the names and contents of its sources as its record lists them; the same
            wherever the same sources are installed.
        files: sources of Python and texts, in the order of their names.
    """

    name: str
    version: str
    digest: str
    files: tuple[PurePosixPath, ...]

    @cached_property
    def _installed(self) -> metadata.Distribution:
        return metadata.distribution(self.name)

    @property
    def description(self) -> str:
        """Its long description, usually a README."""
        return _description(self._installed)

    def read(self, file: PurePosixPath) -> bytes:
        """Returns the contents of one of its files. Raises `OSError` for one that is missing."""
        return Path(str(self._installed.locate_file(file))).read_bytes()

    def __getstate__(self) -> dict[str, object]:
        return {name: value for name, value in vars(self).items() if name != "_installed"}


def installed(name: str) -> Distribution | None:
    """Finds a distribution; `None` if it is not installed, or if its installation has no record of its files."""
    try:
        found = metadata.distribution(name)
    except metadata.PackageNotFoundError:
        return None
    digest, files = hashlib.sha256(_description(found).encode()), []
    for file in sorted(found.files or ()):
        if _documents(file):
            digest.update(f"\n{file.as_posix()} {_contents(found, file)}".encode())
            files.append(PurePosixPath(file))
    return Distribution(name, found.version, digest.hexdigest(), tuple(files)) if files else None


def _contents(found: metadata.Distribution, file: metadata.PackagePath) -> str:
    """Returns the hash of a file in the record, or where it has none one of the file itself, `missing` without one."""
    if file.hash:
        return file.hash.value
    try:
        return hashlib.sha256(Path(str(found.locate_file(file))).read_bytes()).hexdigest()
    except OSError:
        return "missing"


def _documents(file: PurePosixPath) -> bool:
    """True for Python and for texts that are part of a package; licences and records beside it are neither."""
    records = any(part.endswith((".dist-info", ".egg-info")) for part in file.parts)
    if records or file.is_absolute() or ".." in file.parts:
        return False
    if not _LEFT_OUT.isdisjoint(file.parts[:-1]):
        return False
    licence = file.stem.upper().startswith(("LICEN", "COPYING", "NOTICE"))
    return file.suffix == ".py" or (file.suffix in (".md", ".rst") and not licence)


def _description(found: metadata.Distribution) -> str:
    return str(found.metadata.json.get("description", ""))
