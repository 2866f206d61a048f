"""Distributions of a few files, as an installer leaves them."""

from __future__ import annotations

import base64
import hashlib
import importlib
import shutil
from pathlib import Path


def install(
    site: Path, name: str, version: str, files: dict[str, str | bytes], description: str = "", hashed: bool = True
) -> None:
    """Writes a distribution into a folder of packages, in place of an earlier one; `hashed`: with hashes in its
    record."""
    for earlier in (*site.glob(f"{name}-*.dist-info"), site / name):
        shutil.rmtree(earlier, ignore_errors=True)
    about = f"{name}-{version}.dist-info"
    metadata = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n\n{description}"
    lines = [f"{about}/RECORD,,"]
    for path, contents in {**files, f"{about}/METADATA": metadata}.items():
        data = contents if isinstance(contents, bytes) else contents.encode()
        (site / path).parent.mkdir(parents=True, exist_ok=True)
        (site / path).write_bytes(data)
        digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).decode().rstrip("=")
        lines.append(f"{path},sha256={digest},{len(data)}" if hashed else f"{path},,")
    (site / about / "RECORD").write_text("\n".join(lines) + "\n")
    importlib.invalidate_caches()
