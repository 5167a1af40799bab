"""A gallery of made-up vectors, and a child that exports or imports it and prints the most memory it had, in MB.

python -m tests.store.bundling export|import COUNT GALLERY BUNDLE
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from facesearch.search.gallery import Gallery
from facesearch.store.bundle.reading import read_bundle
from facesearch.store.bundle.writing import write_bundle
from facesearch.store.models import bind_model
from facesearch.store.rows import keep_ids
from facesearch.store.schema import FaceRow, PhotoRow, SubjectRow, TemplateRow
from facesearch.store.templates import checksum
from facesearch.types import ModelInfo
from tests.store.makers import units

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection

DIMENSION = 512
WHEN = "2026-01-01T00:00:00+00:00"
PHOTOS_EACH = 4
MADE_AT_ONCE = 10_000


def make(folder: Path, count: int) -> None:
    """`count` photos with a template each, every four of one person."""
    with Gallery.open(folder, create=True) as gallery:
        model = ModelInfo("model-a", "a-pack", DIMENSION, "d" * 64, "e" * 64, {"det_size": "640"})
        gallery.change(bind_model, model)
        for start in range(1, count + 1, MADE_AT_ONCE):
            with gallery.database.write() as connection:
                put(connection, range(start, min(start + MADE_AT_ONCE, count + 1)))


def put(connection: Connection, ids: range) -> None:
    vectors = units(ids.start, len(ids), DIMENSION)
    people = [key // PHOTOS_EACH + 1 for key in ids if key % PHOTOS_EACH == 0 or key == 1]
    face: dict[str, Any] = {"box": bytes(16), "landmarks": bytes(40), "detection_score": 0.9, "size": 50.0}
    face |= {"sharpness": 90.0, "yaw": 0.0, "roll": 0.0, "origin": "enrolled"}
    photo = {"size": 1, "mtime_ns": 1, "width": 640, "height": 480, "enrolled_at": WHEN, "label": "", "conflict": None}
    keep_ids(
        connection,
        SubjectRow,
        [
            {"id": key, "name": f"Person {key}", "attributes": {"team": "a"}, "said": {}, "created_at": WHEN}
            for key in people
        ],
    )
    keep_ids(
        connection,
        PhotoRow,
        [
            {
                "id": key,
                "path": b"/photos/%d.jpg" % key,
                "sha256": key.to_bytes(32, "big"),
                "owner_id": key // PHOTOS_EACH + 1,
                **photo,
            }
            for key in ids
        ],
    )
    keep_ids(
        connection,
        FaceRow,
        [{"id": key, "photo_id": key, "subject_id": key // PHOTOS_EACH + 1, **face} for key in ids],
    )
    keep_ids(connection, TemplateRow, [template(key, vectors[key - ids.start].tobytes()) for key in ids])


def template(key: int, vector: bytes) -> dict[str, Any]:
    return {
        "id": key,
        "face_id": key,
        "model_id": 1,
        "dimension": DIMENSION,
        "vector": vector,
        "crc": checksum(key, 1, vector),
    }


def most_memory() -> float:
    """In MB; what `resource` says counts the parent's too."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024


def main(what: str, count: int, folder: Path, bundle: Path) -> None:
    with Gallery.open(folder, create=True) as gallery:
        if what == "export":
            assert write_bundle(gallery, bundle)["templates"] == count
        else:
            assert read_bundle(gallery, bundle).templates == count
    print(most_memory())  # noqa: T201


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), Path(sys.argv[3]), Path(sys.argv[4]))
