"""Enroll a folder of people, then ask who is in a photo.

python examples/enroll_and_query.py PEOPLE PHOTO [GALLERY]
"""

import sys

from facesearch import Decision, EnrollStatus, FaceSearch


def main(people: str, photo: str, gallery: str = "data") -> None:
    """`people` holds one folder per person."""
    with FaceSearch.open(gallery) as engine:
        for outcome in engine.enroll(people):  # on disk when it is yielded
            if outcome.status is EnrollStatus.REJECTED and outcome.rejection is not None:
                print(f"not used: {outcome.photo}: {outcome.rejection.detail}")
        for face in engine.identify(photo):
            if face.decision is Decision.MATCH and face.best is not None:
                print(f"face {face.face_number}: {face.best.subject}, score {face.best.score:.3f}")
            else:
                print(f"face {face.face_number}: {face.decision}")
        print(f"threshold {engine.threshold.value} ({engine.threshold.basis})")


if __name__ == "__main__":
    main(*sys.argv[1:])
