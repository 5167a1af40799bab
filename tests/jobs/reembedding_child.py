"""A child that embeds a gallery again, and tells of each photo that it reads and that is done; it is to be killed.

python -m tests.jobs.reembedding_child GALLERY PACK
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from facesearch import FaceSearch
from facesearch.jobs import reembedding
from facesearch.jobs.sources import read_photo_bytes


def tell(sign: str, photo: object) -> None:
    os.write(1, f"{sign} {photo}\n".encode())  # whole, from whatever thread


def read_and_tell(path: Path) -> bytes:
    tell("?", path)
    return read_photo_bytes(path)


if __name__ == "__main__":
    vars(reembedding)["read_photo_bytes"] = read_and_tell  # looked up by name when it is called
    with FaceSearch.open(sys.argv[1], pack=sys.argv[2], provider="cpu") as engine:
        for outcome in engine.model_change.reembed():
            tell("+", outcome.photo)
