"""A child process that enrolls and removes on a PostgreSQL gallery for as long as it lives, and survives its server.

    python -m tests.durability.on_server URL CACHE SEED FIRST

One line per acknowledged step: `+ NUMBER`, `- NUMBER`; `? NUMBER` before a removal; `! ` where a search failed because
the server was gone. People are numbered from FIRST on.
"""

from __future__ import annotations

import random
import sys
from pathlib import Path

from facesearch.errors import GalleryUnavailableError
from facesearch.search.gallery import Gallery
from facesearch.store import erasure, people, subjects
from facesearch.store.location import parse_location
from tests.store.makers import commit, found_subject, make_gallery, new_photo, unit


def work(gallery: Gallery, rng: random.Random, number: int) -> None:
    enrolled = [int(subject.name) for subject in gallery.read(subjects.list_subjects)]
    while True:
        if len(enrolled) > 20 and rng.random() < 0.4:
            gone = enrolled.pop(rng.randrange(len(enrolled)))
            say("?", gone)  # from here on either outcome is right
            remove = (
                (lambda who: gallery.remove(people.remove, who))
                if rng.random() < 0.5
                else lambda who: gallery.remove(erasure.erase_subjects, gallery.erasure_list, [who])
            )
            remove(str(gone))
            say("-", gone)
        else:
            together = range(number, number + rng.randint(1, 8))
            commit(gallery, [new_photo(str(each), f"{each}.jpg", [unit(each)], content=each) for each in together])
            for each in together:
                say("+", each)
            enrolled += together
            number = together.stop
        if rng.random() < 0.3:
            look(gallery, rng.choice(enrolled))
        if rng.random() < 0.1:
            gallery.mirror.save()


def look(gallery: Gallery, number: int) -> None:
    try:
        assert found_subject(gallery, number) == str(number)
    except GalleryUnavailableError:
        say("!", number)


def say(sign: str, number: int) -> None:
    print(sign, number, flush=True)  # noqa: T201


if __name__ == "__main__":
    with make_gallery(parse_location(sys.argv[1], Path(sys.argv[2]))) as opened:
        work(opened, random.Random(int(sys.argv[3])), int(sys.argv[4]))
