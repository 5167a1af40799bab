"""Changing a gallery's model, on drawn people: the result is that of enrolling with the new one; nobody is lost."""

from __future__ import annotations

import re
import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path

import pytest
from PIL import Image

from facesearch import FaceSearch
from facesearch.demo.portraits import PEOPLE, draw_group, write_photo
from facesearch.errors import GalleryError, ModelNotFoundError
from facesearch.jobs import reembedding
from facesearch.jobs.sources import read_photo_bytes
from facesearch.recognition.packs.store import file_sha256
from facesearch.recognition.thumbnail import thumbnail
from facesearch.store import templates
from facesearch.store.photos import details_of_subject, find_detail, keep_crop
from facesearch.store.reembedding import find_gallery_model
from facesearch.store.templates import locate
from facesearch.types import SearchResult

Open = Callable[..., FaceSearch]


@pytest.fixture
def reopen(tmp_path: Path) -> Iterator[Open]:
    """Opens the gallery of the test, with a pack."""
    opened: list[FaceSearch] = []

    def reopen(pack: Path | None = None, gallery: str = "gallery") -> FaceSearch:
        opened.append(FaceSearch.open(tmp_path / gallery, pack=pack, provider="cpu"))
        return opened[-1]

    yield reopen
    for each in opened:
        each.close()


@pytest.fixture
def old(reopen: Open, people: Path, standin_pack: Path) -> FaceSearch:
    """Three people, four photos each, enrolled with the stand-in."""
    engine = reopen(standin_pack)
    assert {outcome.status for outcome in engine.enroll(people)} == {"enrolled"}
    return engine


def answers(engine: FaceSearch, scenes: Path) -> list[object]:
    found: list[SearchResult] = engine.identify(scenes / "group.jpg", k=3) + engine.identify(scenes / "stranger.jpg")
    return [(each.decision, each.candidates, each.margin, each.threshold) for each in found]


def names_and_scores(engine: FaceSearch, scenes: Path) -> list[object]:
    return [
        [(each.subject, each.score, each.photo) for each in result.candidates]
        for result in engine.identify(scenes / "group.jpg", k=3)
    ]


def test_the_result_is_that_of_enrolling_with_the_new_model(
    reopen: Open, old: FaceSearch, people: Path, new_pack: Path, scenes_folder: Path
) -> None:
    before = answers(old, scenes_folder)
    new = reopen(new_pack)
    outcomes = list(new.model_change.reembed())
    assert Counter((outcome.status.value, outcome.templates, outcome.missing) for outcome in outcomes) == {
        ("embedded", 1, 0): 12
    }
    assert answers(old, scenes_folder) == before
    assert list(new.model_change.reembed()) == []
    switch = new.model_change.activate()
    assert (switch.model.model_id, switch.previous) == (new.model.model_id, old.model.model_id)
    afresh = reopen(new_pack, "afresh")
    assert {outcome.status for outcome in afresh.enroll(people)} == {"enrolled"}
    assert names_and_scores(new, scenes_folder) == names_and_scores(afresh, scenes_folder)
    assert {outcome.status for outcome in new.enroll(people)} == {"unchanged"}
    new.model_change.rollback()
    assert answers(old, scenes_folder) == before


def test_a_run_that_was_stopped_goes_on_where_it_was(
    reopen: Open, old: FaceSearch, new_pack: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loads: Counter[Path] = Counter()

    def counted(path: Path) -> bytes:
        loads[path] += 1
        return read_photo_bytes(path)

    monkeypatch.setattr(reembedding, "read_photo_bytes", counted)
    monkeypatch.setattr(reembedding, "COMMIT", 2)
    monkeypatch.setattr(reembedding, "LOOKUP", 5)
    change = reopen(new_pack).model_change
    done: set[str] = set()
    runs = 0
    while change.total:
        before, known = loads.copy(), set(done)
        run = change.reembed()
        for _, outcome in zip(range(3), run, strict=False):
            done.add(outcome.photo)
        run.close()  # type: ignore[attr-defined]  # a generator
        assert not [path for path in loads - before if str(path) in known]
        runs += 1
    assert runs == 3  # two batches of two each
    assert len(done) >= 9


def test_photos_that_are_gone_or_changed_are_reported_and_keep_the_switch_from_happening(
    reopen: Open, old: FaceSearch, people: Path, new_pack: Path, scenes_folder: Path
) -> None:
    gone, changed, whole = (people / "Mira Quill" / f"{number}.jpg" for number in (1, 2, 3))
    gone.unlink()
    shutil.copy(scenes_folder / "group.jpg", changed)
    faceless = people / "Mira Quill" / "4.jpg"
    shutil.copy(scenes_folder / "landscape.jpg", faceless)
    change = reopen(new_pack).model_change
    found = {outcome.photo: outcome for outcome in change.reembed() if outcome.missing}
    assert {photo: outcome.status.value for photo, outcome in found.items()} == {
        str(gone): "gone",
        str(changed): "changed",
        str(faceless): "changed",
    }
    with pytest.raises(GalleryError, match="3 enrolled faces") as error:
        change.activate()
    assert "--allow-missing" in (error.value.hint or "")
    assert change.activate(allow_missing=True).missing == 3
    new = reopen(new_pack)
    assert new.identify(whole)[0].best is not None
    outcomes = {outcome.photo: outcome.status.value for outcome in new.enroll(people, faces="largest")}
    assert outcomes[str(changed)] == "enrolled"  # what has no template is looked at again
    assert new.gallery.read(find_gallery_model, new.model.model_id).missing == 2


def test_who_is_enrolled_after_the_switch_is_embedded_before_the_way_back(
    reopen: Open, old: FaceSearch, people: Path, people_folder: Path, new_pack: Path, standin_pack: Path
) -> None:
    new = reopen(new_pack)
    change = new.model_change
    assert len(list(change.reembed())) == 12
    change.activate()
    shutil.copytree(people_folder / PEOPLE[4], people / PEOPLE[4])
    assert sum(outcome.status == "enrolled" for outcome in new.enroll(people)) == 4
    with pytest.raises(GalleryError, match="4 enrolled faces"):
        change.rollback()
    standin_pack.rename(standin_pack.with_name("away"))
    try:
        with pytest.raises(ModelNotFoundError):
            list(change.complete_previous())
    finally:
        standin_pack.with_name("away").rename(standin_pack)
    assert len(list(change.complete_previous())) == 4
    change.rollback()
    (result,) = old.identify(people / PEOPLE[4] / "1.jpg")
    assert (result.decision, result.best and result.best.subject) == ("match", PEOPLE[4])


def test_every_face_of_a_photo_gets_its_own_template(
    reopen: Open, standin_pack: Path, new_pack: Path, tmp_path: Path
) -> None:
    write_photo(tmp_path / "group.jpg", draw_group((0, 3, 5)))
    engine = reopen(standin_pack)
    (outcome,) = engine.enroll(tmp_path / "group.jpg", faces="all")
    assert outcome.faces == 3
    new = reopen(new_pack)
    (embedded,) = new.model_change.reembed()
    assert embedded.templates == 3
    new.model_change.activate()
    ids, vectors = new.gallery.read(templates.all_templates)
    (photo,) = new.gallery.read(details_of_subject, "group")
    boxes = {face.template_id: face.box for face in photo.faces}
    for template in new.encode(tmp_path / "group.jpg"):
        best = int((vectors @ template.vector).argmax())
        assert boxes[int(ids[best])] == pytest.approx(template.face.box.tolist(), abs=1)
        assert float(vectors[best] @ template.vector) == pytest.approx(1, abs=1e-5)


def test_an_upload_is_embedded_from_the_small_picture_that_was_kept(
    reopen: Open, people_folder: Path, standin_pack: Path, new_pack: Path, scenes_folder: Path
) -> None:
    engine = reopen(standin_pack)
    names = [PEOPLE[1], PEOPLE[5], *PEOPLE[6:8]]  # whose faces the stand-in finds in a small picture, too
    photos = [large(people_folder / name / "1.jpg") for name in names]
    outcomes = [engine.enroll_uploads([data], name)[0] for data, name in zip(photos, names, strict=True)]
    pictures = [*photos[:2], (scenes_folder / "landscape.jpg").read_bytes()]
    for data, outcome in zip(pictures, outcomes, strict=False):
        photo_id = engine.gallery.read(locate, outcome.template_ids)[outcome.template_ids[0]][1]
        photo = engine.gallery.read(find_detail, photo_id)
        assert photo is not None
        engine.gallery.write(keep_crop, photo_id, thumbnail(data, photo.faces[0].box))
    new = reopen(new_pack)
    found = {outcome.photo: outcome for outcome in new.model_change.reembed()}
    told = [found[each.photo] for each in outcomes]
    assert [each.status.value for each in told] == ["embedded", "embedded", "failed", "gone"]
    assert [each.rejection and each.rejection.reason.value for each in told] == [
        None,
        None,
        "face_not_found",
        "inaccessible",
    ]
    assert all(each.from_crop for each in told[:2])
    new.model_change.activate(allow_missing=True)
    for data, name in zip(photos[:2], names, strict=False):
        (result,) = new.identify(data)
        assert (result.decision, result.best and result.best.subject) == ("match", name)


def test_another_detector_and_another_dimension_on_photos_of_people(
    reopen: Open, assets: Path, testpack_dir: Path, standin_pack: Path, tmp_path: Path
) -> None:
    mixed = shutil.copytree(standin_pack, tmp_path / "mixed")
    shutil.copy(assets / "models" / "detectors" / "det_2.5g.onnx", mixed)
    detector = f'[detector]\nfile = "det_2.5g.onnx"\nsha256 = "{file_sha256(mixed / "det_2.5g.onnx")}"\n\n'
    text = re.sub(
        r"\[detector\].*?(?=\[recognizer\])", lambda _: detector, (mixed / "pack.toml").read_text(), flags=re.S
    )
    (mixed / "pack.toml").write_text(text)
    photos = sorted((assets / "faces" / "lfw").rglob("*.jpg"))[:3]
    old = reopen(testpack_dir)
    assert {outcome.status for outcome in old.enroll(photos, faces="largest")} == {"enrolled"}
    before = [old.identify(photo) for photo in photos]
    new = reopen(mixed)
    assert [outcome.templates for outcome in new.model_change.reembed()] == [1, 1, 1]
    new.model_change.activate()
    assert (old.gallery.read(templates.all_templates)[1].shape, old.model.dimension) == ((3, new.model.dimension), 256)
    for photo in photos:
        scores = [each.best.score for each in new.identify(photo) if each.best]
        assert max(scores) == pytest.approx(1, abs=1e-5)
    new.model_change.rollback()
    assert [[each.candidates for each in found] for found in map(old.identify, photos)] == [
        [each.candidates for each in found] for found in before
    ]


def large(photo: Path) -> bytes:
    """The photo at three times its size: its small picture has to be scaled down."""
    with Image.open(photo) as image:
        out = BytesIO()
        image.resize((image.width * 3, image.height * 3)).save(out, "JPEG", quality=95)
    return out.getvalue()
