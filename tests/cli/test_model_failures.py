"""A model that fails on one photo costs that photo; one that fails on all of them is an error of its pack."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image

from facesearch import Decision, EnrollOutcome, EnrollStatus, FaceSearch, ModelError, PhotoError, Rejection, Template
from facesearch.types import Reason
from tests.recognition.models import SIZE, detector_model, recognizer_model, write_pack
from tests.server.conftest import serve_here

if TYPE_CHECKING:
    from pathlib import Path

    from facesearch.types import Pixels
    from tests.cli.conftest import Command

FACE = [(8.0, 8.0, 48.0)]
TWO_FACES = [(0.0, 0.0, 30.0), (34.0, 0.0, 28.0)]
PACK_FILE = """
name = "tiny"
licence = "none"
[detector]
file = "finder.onnx"
[recognizer]
file = "colour.onnx"
input_mean = 127.5
input_std = 127.5
dimension = 3
[threshold]
score = 0.9
basis = "a test"
"""
GOOD, OTHER, RED, BRIGHT = (60, 190, 120), (90, 60, 190), (230, 90, 60), (240, 240, 240)
"""Colours of photos: of RED ones the recogniser makes NaN, of BRIGHT ones the detector."""


def picture(colour: tuple[int, int, int], seed: int = 0) -> Pixels:
    noise = np.random.default_rng(seed).integers(-40, 40, (SIZE, SIZE, 1))
    return np.clip(np.array(colour) + noise, 1, 255).astype(np.uint8)


def make_pack(folder: Path, *, red: float = 0.6, bright: float = 0.6, faces: list[tuple[float, float, float]]) -> Path:
    folder.mkdir()
    write_pack(folder, detector_model(faces, nan_above=bright), recognizer=recognizer_model(red))
    (folder / "pack.toml").write_text(PACK_FILE)
    return folder


@pytest.fixture
def pack(tmp_path: Path) -> Path:
    return make_pack(tmp_path / "pack", faces=FACE)


@pytest.fixture
def people(tmp_path: Path) -> Path:
    """Ada has a good photo, and one on which each model fails; Ben has a good one."""
    photos = {"Ada/good.png": GOOD, "Ada/red.png": RED, "Ada/bright.png": BRIGHT, "Ben/good.png": OTHER}
    for seed, (name, colour) in enumerate(photos.items()):
        path = tmp_path / "people" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture(colour, seed)).save(path)
    return tmp_path / "people"


@pytest.fixture
def opened(tmp_path: Path, pack: Path, monkeypatch: pytest.MonkeyPatch) -> FaceSearch:
    monkeypatch.setenv("FACESEARCH_CACHE", str(tmp_path / "cache"))
    return FaceSearch.open(tmp_path / "gallery", pack=pack, provider="cpu", det_size=SIZE)


def enrolled_anew(pack: Path, people: Path) -> list[EnrollOutcome]:
    """The outcomes of an enrolment with an engine of its own."""
    with FaceSearch.open(people.parent / "gallery", pack=pack, provider="cpu", det_size=SIZE) as engine:
        return list(engine.enroll(people))


def test_it_costs_its_own_photo_in_an_enrolment_and_the_next_run_tries_again(pack: Path, people: Path) -> None:
    for status in (EnrollStatus.ENROLLED, EnrollStatus.UNCHANGED):
        outcomes = {outcome.photo.removeprefix(f"{people}/"): outcome for outcome in enrolled_anew(pack, people)}
        assert {name: outcome.status for name, outcome in outcomes.items()} == {
            "Ada/good.png": status,
            "Ada/red.png": EnrollStatus.REJECTED,
            "Ada/bright.png": EnrollStatus.REJECTED,
            "Ben/good.png": status,
        }
        for name, words in {"Ada/red.png": "vector", "Ada/bright.png": "scores"}.items():
            rejection = outcomes[name].rejection
            assert rejection is not None
            assert (rejection.reason, words in rejection.detail) == (Reason.MODEL_FAILURE, True)


def test_it_costs_its_own_photo_in_searches_and_comparisons(opened: FaceSearch, people: Path) -> None:
    with opened as engine:
        list(engine.enroll(people))
        for name in ("red.png", "bright.png"):
            (result,) = engine.identify(people / "Ada" / name)
            assert result.decision is Decision.UNUSABLE
            assert result.rejection is not None
            assert result.rejection.reason is Reason.MODEL_FAILURE
            good, bad = people / "Ben" / "good.png", people / "Ada" / name
            for photos, place in (((good, bad), "second"), ((bad, good), "first")):
                with pytest.raises(PhotoError, match=rf"^The {place} photo \({bad}\): The ") as caught:
                    engine.verify(*photos)
                assert caught.value.reason == Reason.MODEL_FAILURE
        assert engine.identify(people / "Ada" / "good.png")[0].decision is Decision.MATCH


def test_it_costs_its_own_photo_in_an_evaluation_which_does_not_remember_it(opened: FaceSearch, people: Path) -> None:
    with opened as engine:
        engine.ensure_gallery()
        photos = sorted(people.glob("Ada/*"))
        for computed in (3, 2):
            found = engine.photo_embedder().embed(photos)
            assert [each.reason for each in found.photos] == ["model_failure", "", "model_failure"]
            assert found.computed == computed
        aligned = people / "aligned.png"
        Image.fromarray(np.full((112, 112, 3), RED, np.uint8)).save(aligned)
        assert engine.photo_embedder(aligned=True).embed([aligned]).photos[0].reason == "model_failure"


def test_it_costs_its_own_photo_over_http(opened: FaceSearch, people: Path) -> None:
    good, red, bright = ((people / "Ada" / f"{name}.png").read_bytes() for name in ("good", "red", "bright"))
    photos = [("photo", (name, data)) for name, data in (("r.png", red), ("b.png", bright), ("g.png", good))]
    with opened as engine:
        list(engine.enroll(people))
        with serve_here(engine) as api:
            searched = api.post("/v1/identify", files=photos).json()["results"]
            found = api.post("/v1/detect", files=photos).json()["results"]
            enrolled = api.post("/v1/subjects", files=photos, data={"subject": "Cy"}).json()["results"]
            refused = api.post("/v1/verify", files={"a": good, "b": red})
    assert [each["reason"] for each in searched] == ["model_failure", "model_failure", None]
    assert [each["reason"] for each in found] == [None, "model_failure", None]
    assert [each["reason"] for each in enrolled[:2]] == ["model_failure", "model_failure"]
    assert enrolled[2]["status"] == "enrolled"
    assert (refused.status_code, refused.json()["reason"]) == (422, "model_failure")


def test_it_costs_its_own_photo_when_a_gallery_is_embedded_anew(tmp_path: Path, people: Path) -> None:
    sound = make_pack(tmp_path / "sound", red=2, bright=2, faces=FACE)
    with FaceSearch.open(tmp_path / "gallery", pack=sound, provider="cpu", det_size=SIZE) as engine:
        assert {each.status for each in engine.enroll(people)} == {EnrollStatus.ENROLLED}
    other = make_pack(tmp_path / "other", faces=FACE)
    with FaceSearch.open(tmp_path / "gallery", pack=other, provider="cpu", det_size=SIZE) as engine:
        outcomes = {each.photo.removeprefix(f"{people}/"): each for each in engine.model_change.reembed()}
    reasons = {name: each.rejection.reason if each.rejection else None for name, each in outcomes.items()}
    assert reasons == {
        "Ada/good.png": None,
        "Ada/red.png": Reason.MODEL_FAILURE,
        "Ada/bright.png": Reason.MODEL_FAILURE,
        "Ben/good.png": None,
    }


def test_one_face_of_several_costs_itself_only(tmp_path: Path, command: Command) -> None:
    pack, photo = make_pack(tmp_path / "pack", faces=TWO_FACES), tmp_path / "two.png"
    Image.fromarray(np.hstack([picture(RED)[:, :32], picture(OTHER)[:, 32:]])).save(photo)
    with FaceSearch.open(pack=pack, provider="cpu", det_size=SIZE) as engine:
        (_, first), (_, second) = engine.encode_faces(photo)
        assert isinstance(first, Rejection)
        assert isinstance(second, Template)
        with pytest.raises(PhotoError) as caught:
            engine.encode(photo)
        assert caught.value.reason == Reason.MODEL_FAILURE
    options = ("--pack", pack, "--det-size", str(SIZE), "--provider", "cpu")
    run = command("detect", photo, "--embeddings", tmp_path / "found.npz", "--json", *options)
    assert (run.code, [record["reason"] for record in run.records]) == (0, ["model_failure", None])
    with np.load(tmp_path / "found.npz") as found:
        assert len(found["vectors"]) == 1
    table = command("detect", photo, "--embeddings", tmp_path / "again.npz", *options)
    assert "model_failure: The recogniser returned a vector" in " ".join(table.out.split())


@pytest.mark.parametrize(
    ("failing", "words"),
    [
        ({"red": -0.5}, "recogniser fails on a grey picture"),
        ({"bright": -0.5}, "The detector of the pack tiny fails on everything it was given"),
    ],
)
def test_a_pack_that_fails_on_a_grey_picture_is_at_fault_for_the_first_photo(
    tmp_path: Path, people: Path, command: Command, failing: dict[str, float], words: str
) -> None:
    pack = make_pack(tmp_path / "pack", faces=FACE, **failing)
    options = ("--pack", pack, "--det-size", str(SIZE), "--provider", "cpu", "--gallery", tmp_path / "gallery")
    run = command("enroll", people, *options)
    assert run.code == 4
    assert words in run.err


@pytest.mark.parametrize(("failing", "model"), [({"red": 0.1}, "recogniser"), ({"bright": 0.0}, "detector")])
def test_a_pack_that_fails_on_every_photo_is_at_fault(tmp_path: Path, failing: dict[str, float], model: str) -> None:
    folder = tmp_path / "people" / "Ada"
    folder.mkdir(parents=True)
    for seed in range(12):
        Image.fromarray(picture((150, 150, 150), seed)).save(folder / f"{seed}.png")
    pack = make_pack(tmp_path / "pack", faces=FACE, **failing)
    with (
        FaceSearch.open(tmp_path / "gallery", pack=pack, provider="cpu", det_size=SIZE) as engine,
        pytest.raises(ModelError, match=f"The {model} of the pack tiny fails on everything it was given"),
    ):
        list(engine.enroll(folder.parent))


@pytest.mark.parametrize("colour", [RED, BRIGHT])
def test_photos_that_fail_never_blame_a_pack_that_made_the_gallery(
    pack: Path, people: Path, colour: tuple[int, int, int]
) -> None:
    """Not in the first run, where others do not fail, nor in the next, which looks at nothing but them."""
    for seed in range(10):
        Image.fromarray(picture(colour, 100 + seed)).save(people / "Ada" / f"other-{seed}.png")
    for _ in range(2):
        reasons = [each.rejection.reason for each in enrolled_anew(pack, people) if each.rejection]
        assert reasons == [Reason.MODEL_FAILURE] * 12
