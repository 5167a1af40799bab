"""Photos without a file: what was uploaded is known by a path of its own kind, which no file system hands out."""

from __future__ import annotations

import secrets
from pathlib import Path
from typing import Final

_PREFIX: Final = "upload:"


def upload_path(sha256: str) -> Path:
    """A new path for uploaded bytes: `upload:<sha256>-<8 random hex digits>`.

    The random part lets the same photo be enrolled for several people: one face each. It never begins with a
    separator, as the absolute paths of files do.
    """
    return Path(f"{_PREFIX}{sha256}-{secrets.token_hex(4)}")


def is_upload(path: Path) -> bool:
    """Whether the photo was uploaded, so that no file of it can be expected."""
    return str(path).startswith(_PREFIX)
