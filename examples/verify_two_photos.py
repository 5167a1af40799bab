"""Say whether two photos show the same person. Exit code: 0 they do, 1 they do not, 3 a photo cannot be used.

python examples/verify_two_photos.py A B
"""

import sys

from facesearch import FaceCountError, FaceSearch, PhotoError


def main(a: str, b: str) -> int:
    """Compare the faces of two photos; a photo with several faces needs one that dominates."""
    with FaceSearch.open() as engine:
        try:
            found = engine.verify(a, b)
        except (PhotoError, FaceCountError) as error:
            print(f"{error.message} {error.hint or ''}".strip())
            return 3
    print(f"{'same person' if found.is_match else 'different people'}: score {found.score:.3f}")
    return 0 if found.is_match else 1


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
