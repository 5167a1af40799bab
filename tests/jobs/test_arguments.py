"""Wrong types in Python are errors that say what to give; images of Pillow are photos; what is closed is closed."""

from __future__ import annotations

import copy
import inspect
import pickle
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from functools import cached_property, partial
from io import BytesIO
from operator import attrgetter
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image

from facesearch import ConfigError, FaceSearch, FaceSearchError, PhotoError
from facesearch.client import Client
from facesearch.demo.portraits import PEOPLE, draw_group, draw_portrait
from facesearch.jobs.sources import Sources
from facesearch.store import subjects, templates

PHOTO = np.zeros((40, 40, 3), np.uint8)
NO_PHOTOS: list[Any] = [
    None,
    "",
    b"",
    7,
    1.5,
    True,
    ["photo.jpg"],
    {"photo": 1},
    (PHOTO, PHOTO),
    object(),
    bytearray(b"x"),
    PHOTO[:, :, 0],
    PHOTO.astype(np.float32),
    PHOTO[:0],
    np.zeros((40, 40, 4), np.uint8),
    np.array(["photo.jpg"]),
]
NO_FLAGS: list[Any] = [None, "false", "yes", 0, 1, []]
NO_NUMBERS: list[Any] = [True, False, "0.5", float("nan"), [], {}, object()]
NO_COUNTS: list[Any] = [None, True, 0, -1, 1.0, float("nan"), "5", []]
NO_MAPPINGS: list[Any] = ["team=a", 5, [("team", "a")], {"team": 1}, {1: "a"}, {"team": None}, True]
NO_TEXTS: list[Any] = [None, "", 5, b"x", [], True]
NO_POLICIES: list[Any] = [None, "some", 5, True, [], {}]
NO_CHOICES: list[Any] = [None, "some", -1, 0, True, 1.5, []]
NO_LISTS: list[Any] = [None, "Mira Quill", b"x", 5, [None], [True], [""], [1.5], [-1], {"a": 1}]
NO_PEOPLE: list[Any] = [None, "", True, -1, 1.5, [], b"x"]

Call = Callable[..., Any]


def listed(method: str) -> Call:
    return lambda opened, *args, **options: list(getattr(opened, method)(*args, **options))


def plain(method: str) -> Call:
    return lambda opened, *args, **options: getattr(opened, method)(*args, **options)


SEARCHING: dict[str, list[Any]] = {
    "k": NO_COUNTS,
    "where": NO_MAPPINGS,
    "margin": [*NO_NUMBERS, -1],
    "degraded": NO_FLAGS,
}
ENROLLING: dict[str, list[Any]] = {
    "subject": NO_TEXTS,
    "attributes": NO_MAPPINGS,
    "faces": NO_CHOICES,
    "strict": NO_FLAGS,
    "any_quality": NO_FLAGS,
}
BACK = dict.fromkeys(("bring_back_erased", "bring_back_removed"), NO_FLAGS)
Wrong = list[tuple[Call, list[Any], dict[str, Any], dict[str, list[Any]]]]
ENGINE: Wrong = [
    (plain("identify"), NO_PHOTOS, {}, SEARCHING),
    (plain("detect"), NO_PHOTOS, {}, {}),
    (plain("encode"), NO_PHOTOS, {}, {}),
    (lambda opened, a: opened.verify(a, PHOTO), NO_PHOTOS, {}, {}),
    (lambda opened, b, **options: opened.verify(PHOTO, b, **options), NO_PHOTOS, {}, {"faces": [*NO_POLICIES, "all"]}),
    (
        listed("enroll"),
        [None, 5, b"x", PHOTO, {"a": 1}, [None], [b"x"], [PHOTO], [""], True],
        {},
        {
            "subject": [*NO_TEXTS[1:]],
            "faces": NO_POLICIES,
            "strict": NO_FLAGS,
            "sync": NO_FLAGS,
            "one_per_file": NO_FLAGS,
            **BACK,
        },
    ),
    (
        lambda opened, photos, subject="Mira", **options: opened.enroll_uploads(photos, subject, **options),
        [None, b"x", "a.jpg", 5, ["a.jpg"], [None], [PHOTO], {b"x"}],
        {},
        ENROLLING,
    ),
    (
        lambda opened, **options: list(opened.enroll(Sources(), **options)),
        [],
        {},
        {"faces": NO_POLICIES, "strict": NO_FLAGS, "sync": NO_FLAGS, **BACK},
    ),
    (plain("forget"), NO_LISTS, {}, {}),
    (plain("reindex"), [5, "", "some", True, []], {}, {}),
    (plain("check"), [], {}, {"fix": NO_FLAGS}),
    (plain("beside"), [5, "", True, []], {}, {}),
    (
        plain("photo_embedder"),
        [],
        {},
        {"faces": [*NO_POLICIES, "all"], **dict.fromkeys(("flip", "aligned", "cache"), NO_FLAGS)},
    ),
    (plain("adopt_calibration"), [None, {}, "{}", 5], {}, {}),
    (plain("keep_evaluation"), [None, {}, "{}", 5, []], {}, {}),
]
CLIENT: Wrong = [
    (plain("identify"), NO_PHOTOS, {}, {**SEARCHING, "threshold": [*NO_NUMBERS, 2]}),
    (plain("detect"), NO_PHOTOS, {}, {}),
    (lambda opened, a: opened.verify(a, PHOTO), NO_PHOTOS, {}, {}),
    (
        lambda opened, b, **options: opened.verify(PHOTO, b, **options),
        NO_PHOTOS,
        {},
        {"faces": NO_POLICIES, "threshold": [*NO_NUMBERS, 2]},
    ),
    (
        listed("enroll"),
        [None, 5, [None], [b""], "", b""],
        {"subject": "Mira"},
        ENROLLING,
    ),
    (listed("subjects"), NO_MAPPINGS, {}, {"search": NO_TEXTS[1:]}),
    *((plain(method), NO_PEOPLE, {}, {}) for method in ("subject", "photos_of_subject")),
    (lambda opened, who: opened.rename_subject(who, "New"), NO_PEOPLE, {}, {}),
    (lambda opened, new: opened.rename_subject(1, new), NO_TEXTS, {}, {}),
    (lambda opened, source: opened.merge_subjects(source, 1), NO_PEOPLE, {}, {}),
    (lambda opened, target: opened.merge_subjects(1, target), NO_PEOPLE, {}, {}),
    (lambda opened, who: opened.set_attributes(who, {}), NO_PEOPLE, {}, {}),
    (lambda opened, changes: opened.set_attributes(1, changes), [None, "team=a", 5, {"team": 1}, {1: "a"}], {}, {}),
    (plain("forget"), NO_LISTS, {}, {}),
    (lambda opened, who: opened.remove_photo(who, 1), NO_PEOPLE, {}, {}),
    (lambda opened, photo_id: opened.remove_photo(1, photo_id), [None, "1", 1.0, True, -1], {}, {}),
    (plain("thumbnail"), [None, "1", 1.0, True, -1], {}, {}),
]


@pytest.fixture
def client() -> Iterator[Client]:
    """A client that asks nobody."""

    def refuse(request: httpx.Request) -> httpx.Response:
        raise AssertionError(f"asked: {request.url}")

    with Client(transport=httpx.MockTransport(refuse)) as opened:
        yield opened


def refuse_all(opened: object, table: Wrong) -> int:
    """Each wrong value, alone; returns how many there were."""
    tried = 0
    for call, firsts, needed, options in table:
        wrong: list[tuple[tuple[Any, ...], dict[str, Any]]] = [((first,), needed) for first in firsts]
        first: tuple[Any, ...] = ([b"x"] if options is ENROLLING else PHOTO,) if firsts else ()
        wrong += [(first, {**needed, name: value}) for name, values in options.items() for value in values]
        for args, chosen in wrong:
            with pytest.raises(FaceSearchError) as caught:
                call(opened, *args, **chosen)
            assert caught.value.hint, (args, chosen)
            assert isinstance(caught.value, ConfigError), (args, chosen, caught.value)
            tried += 1
    return tried


def test_an_engine_refuses_wrong_types_and_values(enrolled: FaceSearch, people: Path) -> None:
    table = [each for each in ENGINE if "one_per_file" not in each[3]]
    assert refuse_all(enrolled, table) > 150
    for call, firsts, _, options in [each for each in ENGINE if "one_per_file" in each[3]]:
        for first in firsts:
            with pytest.raises(ConfigError):
                call(enrolled, first)
        for name, values in options.items():
            for value in values:
                with pytest.raises(ConfigError):
                    call(enrolled, people, **{name: value})
    assert enrolled.gallery.read(templates.counts)["photos"] == 48


def test_a_client_refuses_wrong_types_and_values_before_it_asks(client: Client) -> None:
    assert refuse_all(client, CLIENT) > 150


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("gallery", ["", 5, b"x", [], True]),
        ("pack", ["", 5, [], True]),
        ("provider", ["", 5, []]),
        ("det_size", ["", 1.5, [], True]),
        ("precision", ["", 5, []]),
        ("threshold", [*NO_NUMBERS, 2]),
        ("workers", NO_COUNTS[1:]),
        ("batch", NO_COUNTS[1:]),
    ],
)
def test_an_engine_is_not_opened_with_wrong_types(name: str, values: list[Any]) -> None:
    for value in values:
        with pytest.raises(ConfigError) as caught:
            FaceSearch.open(**{name: value})
        assert caught.value.hint


def test_neither_is_made_of_anything_else() -> None:
    with pytest.raises(ConfigError, match=r"FaceSearch\.open|settings"):
        FaceSearch("data")  # type: ignore[arg-type]  # on purpose
    for url in (None, "", 5, "localhost:8000"):
        with pytest.raises(ConfigError):
            Client(url)  # type: ignore[arg-type]  # on purpose
    for options in ({"key": 5}, {"key": ""}, {"timeout": "1"}, {"timeout": True}, {"timeout": -1}):
        with pytest.raises(ConfigError):
            Client(**options)


# -- images of Pillow


def saved(image: Image.Image, **options: Any) -> bytes:
    file = BytesIO()
    image.save(file, "PNG", **options)
    return file.getvalue()


def test_an_image_of_pillow_is_a_photo(enrolled: FaceSearch) -> None:
    pixels = draw_portrait(0, 6)
    (by_pixels,) = enrolled.identify(pixels)
    (by_image,) = enrolled.identify(Image.fromarray(pixels))
    assert (by_image.photo, by_image.candidates) == ("<image>", by_pixels.candidates)
    assert by_image.best is not None
    assert by_image.best.subject == PEOPLE[0]
    assert enrolled.verify(Image.fromarray(pixels), pixels).score == pytest.approx(1, abs=1e-6)
    assert enrolled.detect(Image.fromarray(pixels)) == enrolled.detect(pixels)
    assert enrolled.encode(Image.fromarray(pixels)) == enrolled.encode(pixels)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_orientation_of_an_opened_image_is_applied_and_the_image_left_alone(
    enrolled: FaceSearch, orientation: int
) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = saved(Image.fromarray(draw_portrait(0, 6)), exif=exif)
    with Image.open(BytesIO(data)) as image:
        assert enrolled.detect(image) == enrolled.detect(data)
        assert image.getexif()[0x0112] == orientation
        assert image.size == (Image.open(BytesIO(data))).size


@pytest.mark.parametrize("mode", ["L", "LA", "P", "RGBA", "CMYK", "1"])
def test_an_image_of_any_mode_becomes_rgb_as_its_file_does(enrolled: FaceSearch, mode: str) -> None:
    image = Image.fromarray(draw_portrait(0, 6)).convert(mode)
    (by_image,) = enrolled.identify(image)
    assert image.mode == mode
    if mode != "CMYK":  # no PNG
        (by_file,) = enrolled.identify(saved(image))
        assert by_image.face == by_file.face


def test_an_image_that_cannot_be_read_is_an_unusable_photo(enrolled: FaceSearch) -> None:
    data = saved(Image.fromarray(draw_portrait(0, 6)))
    with Image.open(BytesIO(data[: len(data) // 2])) as cut_off:
        (result,) = enrolled.identify(cut_off)
        assert (result.decision, result.rejection and result.rejection.reason) == ("unusable", "unreadable")
    with pytest.raises(PhotoError, match="bits per channel"):
        enrolled.detect(Image.new("F", (40, 40)))


def test_pillow_is_not_imported_to_find_out_what_a_photo_is() -> None:
    code = "import sys; from facesearch import arguments; arguments.is_pillow(5); print('PIL' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


# -- results


def test_results_equal_their_copies_and_what_was_pickled(enrolled: FaceSearch) -> None:
    image = draw_group((0, 3, 5))
    subject = enrolled.gallery.read(subjects.list_subjects)[0]
    found: list[Any] = [*enrolled.identify(image), *enrolled.detect(image), *enrolled.encode(image)]
    found += [enrolled.verify(draw_portrait(0, 0), draw_portrait(0, 1)), enrolled.threshold, enrolled.model, subject]
    for each in found:
        for other in (pickle.loads(pickle.dumps(each)), copy.copy(each), copy.deepcopy(each)):
            assert other == each
    results = enrolled.identify(image)
    assert results == enrolled.identify(image)
    assert results[0] != results[1]
    assert results[0] != results[0].face
    hashable = [*results, *enrolled.detect(image), *enrolled.encode(image)]
    assert {hash(each) for each in hashable} == {hash(each) for each in pickle.loads(pickle.dumps(hashable))}
    assert len(set(hashable + pickle.loads(pickle.dumps(hashable)))) == len(hashable)


def test_errors_are_whole_after_pickling() -> None:
    errors = [PhotoError("It is cut off.", reason="unreadable", hint="Copy it."), ConfigError("k is 0.", "Give 1.")]
    for error in errors:
        again = pickle.loads(pickle.dumps(error))
        assert type(again) is type(error)
        assert (str(again), vars(again)) == (str(error), vars(error))


# -- closed


def uses(kind: type) -> Iterator[tuple[str, Callable[[Any], object]]]:
    """Every public method and property of a class, as something to do with an instance."""
    for name, member in inspect.getmembers(kind):
        if name.startswith("_") or name in {"close", "open"}:
            continue
        if isinstance(member, property | cached_property):
            yield name, attrgetter(name)
        else:
            needed = [
                each
                for each in list(inspect.signature(member).parameters.values())[1:]
                if each.default is each.empty and each.kind is not each.VAR_KEYWORD
            ]
            yield name, partial(call, name=name, needed=needed)


VALID: dict[str, Any] = {
    "subject": "Mira",
    "who": ["Mira"],
    "photos": [b"x"],
    "results": [],
    "counts": {},
    "document": {"model_id": "m", "kind": "k"},
    "action": "query",
    "new": "N",
    "source": 1,
    "target": 1,
    "changes": {},
    "photo_id": 1,
    "name": "N",
}
SINGLE = {
    *("subject", "photos_of_subject", "rename_subject", "set_attributes", "remove_photo", "remove_subject"),
    *("add_alias", "remove_alias", "move_photo"),
}


def call(opened: Any, *, name: str, needed: list[inspect.Parameter]) -> object:
    valid = VALID | {"who": 1} if name in SINGLE else VALID
    given = {each.name: valid.get(each.name, PHOTO) for each in needed}
    positional = [given[each.name] for each in needed if each.kind is not each.KEYWORD_ONLY]
    named = {each.name: given[each.name] for each in needed if each.kind is each.KEYWORD_ONLY}
    found = getattr(opened, name)(*positional, **named)
    if isinstance(found, AbstractContextManager):
        found.__enter__()
    return list(found) if inspect.isgenerator(found) else found


def test_a_closed_engine_raises_from_everything_but_close(enrolled: FaceSearch) -> None:
    enrolled.close()
    enrolled.close()
    names = []
    for name, use in uses(FaceSearch):
        names.append(name)
        with pytest.raises(ConfigError) as caught:
            use(enrolled)
        if name != "adopt_calibration":  # which is given none
            assert "The engine is closed." in str(caught.value), name
            assert caught.value.hint
    assert len(names) > 25
    with pytest.raises(ConfigError, match="closed"), enrolled:
        pass


def test_an_engine_that_was_never_used_can_be_closed_twice(tmp_path: Path) -> None:
    engine = FaceSearch.open(tmp_path / "none")
    engine.close()
    engine.close()
    assert list(tmp_path.iterdir()) == []


def test_a_closed_client_raises_from_everything_but_close(client: Client) -> None:
    client.close()
    client.close()
    for name, use in uses(Client):
        with pytest.raises(ConfigError, match="The client is closed"):
            use(client)
        assert name
    with pytest.raises(ConfigError, match="closed"), client:
        pass
