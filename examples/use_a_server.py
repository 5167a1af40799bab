"""Enroll and ask through a server that `facesearch serve` runs.

python examples/use_a_server.py NAME PHOTO PROBE [URL] [KEY]
"""

import sys

from facesearch.client import Client


def main(name: str, photo: str, probe: str, url: str = "http://127.0.0.1:8000", key: str | None = None) -> None:
    """Enroll `photo` as `name`, and ask who is in `probe`."""
    with Client(url, key=key) as gallery:
        for outcome in gallery.enroll(photo, subject=name):
            print(f"{outcome.photo}: {outcome.status}")
        for face in gallery.identify(probe, k=1):
            print(f"{face.photo}: {face.decision}, {face.best.subject if face.best else 'no candidate'}")
        people = ", ".join(person.name for person in gallery.subjects())
        print(f"enrolled: {people}")


if __name__ == "__main__":
    main(*sys.argv[1:])
