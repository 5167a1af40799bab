"""A child process that enrolls into a gallery whose vectors are in Milvus, and removes people from it, until killed.

Run: python -m tests.durability.engine_kills FOLDER MILVUS SEED FIRST. One line per acknowledged step: `+ NUMBER`,
`- NUMBER`; `? NUMBER` before a removal.
"""

from __future__ import annotations

import random
import sys
import time
from pathlib import Path
from unittest.mock import patch

from facesearch.index.services import VectorDatabaseKind, VectorServer
from facesearch.search import gallery as searchable
from facesearch.search import vector_databases as keeping
from facesearch.search.gallery import Gallery
from facesearch.store import people, subjects
from tests.store.makers import enroll


def work(gallery: Gallery, rng: random.Random, number: int) -> None:
    """Never ends."""
    enrolled = [int(subject.name) for subject in gallery.read(subjects.list_subjects)]
    while True:
        if len(enrolled) > 5 and rng.random() < 0.3:
            gone = enrolled.pop(rng.randrange(len(enrolled)))
            print("?", gone, flush=True)  # noqa: T201  # from here on either outcome is right
            gallery.remove(people.remove, str(gone))
            print("-", gone, flush=True)  # noqa: T201
        else:
            number += 1
            enroll(gallery, str(number), number)
            print("+", number, flush=True)  # noqa: T201
            enrolled.append(number)
        time.sleep(0.02)  # while Milvus starts again, which takes a minute, others have to be looked at one by one


if __name__ == "__main__":
    often = (
        patch.object(searchable, "AFTER", 3),
        patch.object(keeping, "PAUSE", 0.2),
    )  # it tells Milvus all the time
    with (
        often[0],
        often[1],
        Gallery.open(Path(sys.argv[1]), servers={VectorDatabaseKind.MILVUS: VectorServer(sys.argv[2])}) as opened,
    ):
        work(opened, random.Random(int(sys.argv[3])), int(sys.argv[4]))
