"""Enroll whatever appears in a folder of people, until Ctrl-C. Unchanged photos cost one look at their size and time.

python examples/watch_folder.py PEOPLE [GALLERY] [SECONDS] [ROUNDS]
"""

import itertools
import sys
import time

from facesearch import EnrollStatus, FaceSearch


def main(people: str, gallery: str = "data", seconds: str = "10", rounds: str = "") -> None:
    """Look at the folder every so many seconds, forever or so many times."""
    with FaceSearch.open(gallery) as engine:
        for turn in range(int(rounds)) if rounds else itertools.count():
            if turn:
                time.sleep(float(seconds))
            for outcome in engine.enroll(people, sync=True):
                if outcome.status is not EnrollStatus.UNCHANGED:
                    print(f"{outcome.status}: {outcome.subject}: {outcome.photo}")


if __name__ == "__main__":
    try:
        main(*sys.argv[1:])
    except KeyboardInterrupt:
        print("Stopped. Everything printed is on disk.")
