"""The cache of embeddings: what it keeps, for whom, and what it does not believe."""

from __future__ import annotations

import os
import stat
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from facesearch import FaceSearch
from facesearch.demo.portraits import PEOPLE
from facesearch.errors import ConfigError, EvaluationError
from facesearch.jobs.embedding_cache import Embedding, EmbeddingCache, forget_embeddings
from facesearch.jobs.embeddings import PhotoEmbedder
from facesearch.recognition.extractor import Extractor
from facesearch.recognition.quality import ENROLL_LIMITS
from facesearch.types import Face, Quality, Template

SETTINGS = {"model_id": "m", "faces": "largest"}
DIMENSION = 8


def embedding(number: int) -> Embedding:
    random = np.random.default_rng(number)
    vector = random.normal(size=DIMENSION).astype(np.float32)
    box, landmarks = random.random(4, np.float32), random.random((5, 2), np.float32)
    face = Face(box, landmarks, 0.9)
    template = Template(vector / np.linalg.norm(vector), "m", face, Quality(50.0, 90.0, 0.1, -3.0))
    return Embedding(f"{number:064x}", template, "", 2)


def failure(number: int) -> Embedding:
    return Embedding(f"{number:064x}", None, "face_not_found", 0)


def cache(root: Path, **settings: object) -> EmbeddingCache:
    return EmbeddingCache(root, {**SETTINGS, **settings}, "m", DIMENSION)


def test_what_is_kept_comes_back_exactly(tmp_path: Path) -> None:
    kept = [embedding(1), embedding(2), failure(3)]
    cache(tmp_path).keep(kept)
    found = cache(tmp_path).load(each.sha256 for each in kept)
    assert set(found) == {each.sha256 for each in kept}
    for each in kept:
        again = found[each.sha256]
        assert (again.reason, again.faces) == (each.reason, each.faces)
        if each.template is None:
            assert again.template is None
            continue
        assert again.template is not None
        assert again.template.vector.tobytes() == each.template.vector.tobytes()
        assert again.template.face.box.tobytes() == each.template.face.box.tobytes()
        assert again.template.face.landmarks.tobytes() == each.template.face.landmarks.tobytes()
        assert again.template.quality == each.template.quality
        assert again.box == tuple(each.template.face.box.tolist())


def test_only_what_is_asked_for_is_loaded(tmp_path: Path) -> None:
    cache(tmp_path).keep([embedding(1), embedding(2)])
    assert list(cache(tmp_path).load([embedding(2).sha256, "f" * 64])) == [embedding(2).sha256]


def test_forgetting_takes_vectors_out_and_what_a_kill_left(tmp_path: Path) -> None:
    kept = cache(tmp_path)
    kept.keep([embedding(1), embedding(2)])
    (whole,) = kept.folder.glob("*.npz")
    unfinished, damaged = kept.folder / "0123.tmp", kept.folder / "damaged.npz"
    unfinished.write_bytes(whole.read_bytes())
    damaged.write_bytes(whole.read_bytes()[:-9])
    assert forget_embeddings(tmp_path, {embedding(1).sha256}) == (1, [whole])
    (rest,) = kept.folder.iterdir()
    assert rest not in {whole, unfinished, damaged}
    assert stat.S_IMODE(rest.stat().st_mode) == 0o600
    both = {embedding(1).sha256, embedding(2).sha256}
    assert set(kept.load(both)) == {embedding(2).sha256}
    assert forget_embeddings(tmp_path, both) == (1, [rest])
    assert not list(kept.folder.iterdir())


def test_other_settings_find_nothing(tmp_path: Path) -> None:
    cache(tmp_path).keep([embedding(1)])
    wanted = [embedding(1).sha256]
    assert cache(tmp_path).load(wanted)
    assert not cache(tmp_path, faces="single").load(wanted)
    assert not cache(tmp_path, det_size="320").load(wanted)


def test_files_and_folders_are_for_their_owner_alone(tmp_path: Path) -> None:
    made = cache(tmp_path / "cache" / "embeddings")
    made.keep([embedding(1)])
    (file,) = made.folder.iterdir()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(made.folder.stat().st_mode) == 0o700
    assert stat.S_IMODE(made.folder.parent.stat().st_mode) == 0o700


@pytest.mark.parametrize("position", [0, 100, -30])
def test_a_damaged_file_is_not_believed_and_removed(tmp_path: Path, position: int) -> None:
    made = cache(tmp_path)
    made.keep([embedding(1)])
    made.keep([embedding(2)])
    file = next(each for each in made.folder.iterdir())
    data = bytearray(file.read_bytes())
    data[position] ^= 1
    file.write_bytes(data)
    assert len(cache(tmp_path).load([embedding(1).sha256, embedding(2).sha256])) == 1
    assert not file.exists()


def test_a_file_that_was_exchanged_is_not_believed(tmp_path: Path) -> None:
    made = cache(tmp_path)
    made.keep([embedding(1)])
    (file,) = made.folder.iterdir()
    with np.load(file) as archive:
        arrays = dict(archive)
    np.savez(file, **{**arrays, "vectors": -arrays["vectors"]})
    assert made.load([embedding(1).sha256]) == {}


def test_a_folder_that_cannot_be_written_costs_nothing_but_the_cache(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    made = cache(tmp_path / "file")
    made.keep([embedding(1)])
    assert made.load([embedding(1).sha256]) == {}


def test_a_photo_is_embedded_once_and_then_never(
    enrolled: FaceSearch, people_folder: Path, scenes_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    photos = [people_folder / PEOPLE[0] / "1.jpg", scenes_folder / "landscape.jpg", scenes_folder / "group.jpg"]
    first = PhotoEmbedder(enrolled.extractor, cache=tmp_path).embed([*photos, photos[0]])
    assert first.computed == 3
    assert first.reasons == {"face_not_found": 1}
    assert first.several_faces == 1
    monkeypatch.setattr(Extractor, "extract_many", None)
    again = PhotoEmbedder(enrolled.extractor, cache=tmp_path).embed([*photos, photos[0]])
    assert again.computed == 0
    for old, new in zip(first.photos, again.photos, strict=True):
        assert (old.vector is None) == (new.vector is None)
        if old.vector is not None and new.vector is not None:
            assert old.vector.tobytes() == new.vector.tobytes()


def test_a_changed_photo_is_embedded_again(enrolled: FaceSearch, people_folder: Path, tmp_path: Path) -> None:
    photo = tmp_path / "photo.jpg"
    embedder = PhotoEmbedder(enrolled.extractor, cache=tmp_path / "cache")
    photo.write_bytes((people_folder / PEOPLE[0] / "1.jpg").read_bytes())
    assert embedder.embed([photo]).computed == 1
    photo.write_bytes((people_folder / PEOPLE[1] / "1.jpg").read_bytes())
    assert embedder.embed([photo]).computed == 1


def test_a_photo_that_cannot_be_used_is_a_failure(enrolled: FaceSearch, tmp_path: Path) -> None:
    (tmp_path / "empty.jpg").write_bytes(b"")
    os.mkfifo(tmp_path / "pipe.jpg")
    found = PhotoEmbedder(enrolled.extractor).embed([tmp_path / "empty.jpg", tmp_path / "pipe.jpg"])
    assert found.reasons == {"unreadable": 2}


def test_a_photo_that_is_not_there_is_refused_by_name(enrolled: FaceSearch, tmp_path: Path) -> None:
    with pytest.raises(EvaluationError, match=r"1 of 1 photos cannot be read: .*nowhere\.jpg"):
        PhotoEmbedder(enrolled.extractor).embed([tmp_path / "nowhere.jpg"])


def test_limits_turn_poor_faces_into_failures(enrolled: FaceSearch, people_folder: Path) -> None:
    found = PhotoEmbedder(enrolled.extractor).embed([people_folder / PEOPLE[0] / "1.jpg"])
    assert found.limited(ENROLL_LIMITS).usable == [0]
    strict = replace(ENROLL_LIMITS, min_size=10_000.0)
    assert found.limited(strict).reasons == {"face_too_small": 1}


def test_mirrored_vectors_are_another_model_s(enrolled: FaceSearch, people_folder: Path) -> None:
    photo = people_folder / PEOPLE[0] / "1.jpg"
    plain, summed = (enrolled.photo_embedder(flip=flip, cache=False) for flip in (False, True))
    assert plain.settings != summed.settings
    assert plain.model.model_id != summed.model.model_id
    (vector,) = (each.vector for each in summed.embed([photo]).photos)
    assert vector is not None
    assert np.linalg.norm(vector) == pytest.approx(1)


def test_an_evaluation_takes_one_face_a_photo(enrolled: FaceSearch) -> None:
    with pytest.raises(ConfigError, match="one face"):
        enrolled.photo_embedder(faces="all")


def test_a_photo_is_no_aligned_crop(enrolled: FaceSearch, people_folder: Path) -> None:
    with pytest.raises(EvaluationError, match="112 x 112"):
        enrolled.photo_embedder(aligned=True, cache=False).embed([people_folder / PEOPLE[0] / "1.jpg"])
