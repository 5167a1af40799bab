"""A gallery behind a server: the operations of `FaceSearch` over HTTP, with the same types and errors.

>>> with Client("http://127.0.0.1:8000", key="fsk_...") as client:   # doctest: +SKIP
...     client.enroll(["ada1.jpg", "ada2.jpg"], subject="Ada Lovelace")
...     print(client.identify("photo.jpg")[0].decision)
"""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Iterable
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

import httpx
import numpy as np
from pydantic import ValidationError

from facesearch import arguments, records
from facesearch.errors import ConfigError, FaceSearchError, PhotoError, ServerError, UnknownSubjectError
from facesearch.evaluation.calibration import Calibration
from facesearch.names import path_text
from facesearch.operations import Operations
from facesearch.types import Reason

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from PIL.Image import Image as PillowImage

    from facesearch.corrections import JournalEntry
    from facesearch.operations import Image
    from facesearch.types import (
        Comparison,
        EnrolledPhoto,
        EnrollOutcome,
        Face,
        Finding,
        Pixels,
        SearchResult,
        Subject,
        Threshold,
    )

RecordT = TypeVar("RecordT", bound=records.Record)

HISTORY: Final = 1000  # corrections asked for at a time
COUNTED: Final = ("subjects", "photos", "faces", "templates", "rejected_photos")
PAGE: Final = 200  # people asked for at a time
TIMEOUT: Final = 60.0
"""Seconds; a check of a large gallery takes that long."""


class Client(Operations):
    """A gallery behind `facesearch serve`. Safe to use from several threads."""

    def __init__(
        self,
        url: str = "http://127.0.0.1:8000",
        *,
        key: str | None = None,
        timeout: float = TIMEOUT,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        """`key` is one of `facesearch keys create`; `transport` replaces the network, for a proxy or a test."""
        if not arguments.text("url", url).startswith(("http://", "https://")):
            raise ConfigError(f"{url} is not the address of a server.", "For example: http://127.0.0.1:8000")
        headers = {"Authorization": f"Bearer {arguments.text('key', key)}"} if key is not None else {}
        arguments.number("timeout", timeout, 0)
        self._http = httpx.Client(
            base_url=f"{url.rstrip('/')}/v1", headers=headers, timeout=timeout, transport=transport
        )

    def close(self) -> None:
        self._http.close()

    def require_open(self) -> None:
        if self._http.is_closed:
            raise ConfigError("The client is closed.", "Open another: Client(url)")

    # -- probes

    def detect(self, image: Image) -> list[Face]:
        found = [_record(records.FaceRecord, each) for each in self._post("/detect", photo=[image])["results"]]
        if found[0].reason not in {None, Reason.FACE_NOT_FOUND}:
            raise PhotoError(found[0].detail or "", reason=str(found[0].reason))
        return [face for each in found if (face := each.found()) is not None]

    def identify(
        self,
        image: Image,
        *,
        k: int = 5,
        where: Mapping[str, str] | None = None,
        margin: float | None = None,
        degraded: bool = False,
        threshold: float | None = None,
    ) -> list[SearchResult]:
        wanted = {
            "k": arguments.whole("k", k, 1),
            "where": _pairs(where),
            "margin": None if margin is None else arguments.number("margin", margin, 0),
            "degraded": arguments.flag("degraded", degraded) or None,
            "threshold": _threshold(threshold),
        }
        found = self._post("/identify", photo=[image], params=wanted)["results"]
        return [replace(_record(records.SearchRecord, each).value(), photo=arguments.photo(image)) for each in found]

    def verify(self, a: Image, b: Image, *, faces: str = "single", threshold: float | None = None) -> Comparison:
        wanted = {"faces": _policy(faces), "threshold": _threshold(threshold)}
        record = _record(records.ComparisonRecord, self._post("/verify", a=[a], b=[b], params=wanted))
        return replace(record.value(), a=arguments.photo(a), b=arguments.photo(b))

    # -- enrolment

    def enroll(
        self,
        photos: Sequence[Image] | Image,
        *,
        subject: str,
        attributes: Mapping[str, str] | None = None,
        faces: str | int = "single",
        strict: bool = False,
        any_quality: bool = False,
        bring_back_erased: bool = False,
    ) -> Iterator[EnrollOutcome]:
        """Enroll photos as one person, one request and one outcome each; what is yielded is on the server's disk.

        `faces`: `single`, `largest`, `all`, or the position of the face that is meant, best detection first.
        `bring_back_erased` takes somebody who was forgotten; the key needs the scope `delete` for it.
        """
        images = _images(photos)
        fields = {
            "subject": arguments.text("subject", subject),
            "attributes": json.dumps({} if attributes is None else arguments.texts("attributes", attributes)),
            "faces": _policy(faces) if isinstance(faces, str) else str(arguments.whole("faces", faces, 1)),
            "strict": arguments.flag("strict", strict),
            "any_quality": arguments.flag("any_quality", any_quality),
            "bring_back_erased": arguments.flag("bring_back_erased", bring_back_erased),
        }
        for image in images:
            (record,) = self._post("/subjects", photo=[image], fields=fields)["results"]
            yield replace(_record(records.EnrollRecord, record).value(), photo=arguments.photo(image))

    # -- subjects

    def subjects(self, where: Mapping[str, str] | None = None, *, search: str | None = None) -> list[Subject]:
        part = None if search is None else arguments.text("search", search)
        wanted = {"limit": PAGE, "where": _pairs(where), "search": part}
        found: list[Subject] = []
        after: str | None = None
        while True:
            page = self._request("GET", "/subjects", params={**wanted, "after": after})
            found += map(_subject, page["subjects"])
            after = page["next"]
            if after is None:
                return found

    def subject(self, who: str | int) -> Subject:
        return _subject(self._request("GET", f"/subjects/{self._id(who)}"))

    def photos_of_subject(self, who: str | int) -> list[EnrolledPhoto]:
        found = self._request("GET", f"/subjects/{self._id(who)}/photos")["photos"]
        return [_record(records.PhotoRecord, each).value() for each in found]

    def rename_subject(self, who: str | int, new: str) -> Subject:
        return _subject(
            self._request("PATCH", f"/subjects/{self._id(who)}", json={"subject": arguments.text("new", new)})
        )

    def merge_subjects(self, source: str | int, target: str | int) -> Subject:
        into = {"into": self._id(target)}
        return _subject(self._request("POST", f"/subjects/{self._id(source)}/merge", json=into))

    def set_attributes(self, who: str | int, changes: Mapping[str, str | None]) -> Subject:
        body = {"attributes": arguments.texts("changes", changes, removable=True)}
        return _subject(self._request("PATCH", f"/subjects/{self._id(who)}/attributes", json=body))

    def add_alias(self, who: str | int, name: str) -> Subject:
        body = {"alias": arguments.text("name", name)}
        return _subject(self._request("POST", f"/subjects/{self._id(who)}/aliases", json=body))

    def remove_alias(self, who: str | int, name: str) -> Subject:
        query = {"alias": arguments.text("name", name)}
        return _subject(self._request("DELETE", f"/subjects/{self._id(who)}/aliases", params=query))

    def move_photo(self, photo_id: int, who: str | int, *, create: bool = False) -> Subject:
        body = {"to": arguments.person("who", who), "create": arguments.flag("create", create)}
        return _subject(self._request("POST", f"/photos/{arguments.whole('photo_id', photo_id, 0)}/move", json=body))

    def confirm_photo(self, photo_id: int) -> None:
        self._request("POST", f"/photos/{arguments.whole('photo_id', photo_id, 0)}/confirm")

    def history(self, *, last: int | None = None, who: str | int | None = None) -> list[JournalEntry]:
        left = None if last is None else arguments.whole("last", last, 1)
        who = None if who is None else arguments.person("who", who)
        whose = {"subject_id" if isinstance(who, int) else "subject": who}
        found: list[JournalEntry] = []
        while left is None or len(found) < left:
            limit = HISTORY if left is None else min(HISTORY, left - len(found))
            wanted = {"limit": limit, "before": found[-1].entry_id if found else None, **whose}
            page = self._request("GET", "/history", params=wanted)["entries"]
            found += map(_entry, page)
            if len(page) < limit:
                break
        return found

    def undo(self, entry_id: int | None = None) -> JournalEntry:
        number = None if entry_id is None else arguments.whole("entry_id", entry_id, 1)
        return _entry(self._request("POST", "/undo", json={"entry": number}))

    def forget(self, who: Sequence[str | int]) -> dict[str, Any]:
        ids = [self.subject(each).subject_id for each in arguments.people("who", who)]
        return self._request("POST", "/subjects/forget", json={"ids": list(dict.fromkeys(ids))})

    def remove_subject(self, who: str | int) -> Subject:
        return _subject(self._request("POST", f"/subjects/{self._id(who)}/remove"))

    def remove_photo(self, who: str | int, photo_id: int) -> int:
        number = arguments.whole("photo_id", photo_id, 0)
        return int(self._request("DELETE", f"/subjects/{self._id(who)}/photos/{number}")["templates"])

    def thumbnail(self, photo_id: int) -> bytes:
        """A JPEG of a photo's first face; `GalleryError` where the server has none."""
        return self._send("GET", f"/photos/{arguments.whole('photo_id', photo_id, 0)}/thumbnail").content

    # -- what scores mean

    @property
    def threshold(self) -> Threshold:
        return _record(records.ThresholdRecord, self.describe()).in_force()

    @property
    def threshold_warning(self) -> str | None:
        warning: str | None = self.describe()["threshold_warning"]
        return warning

    @property
    def calibration(self) -> Calibration | None:
        found = self._request("GET", "/calibration")["calibration"]
        return None if found is None else Calibration.from_json(json.dumps(found))

    @property
    def evaluations(self) -> dict[str, dict[str, Any]]:
        return {kind: found for kind, found in self._request("GET", "/evaluation").items() if found is not None}

    def audit(self) -> dict[str, Any]:
        """What in the gallery a person should look at: `totals` and `findings`, as `/v1/audit` describes them."""
        return self._request("GET", "/audit")

    # -- health

    def describe(self) -> dict[str, Any]:
        """Return what `facesearch info` prints, and what the server allows."""
        return self._request("GET", "/info")

    def counts(self) -> dict[str, int]:
        found = self.describe()
        return {name: found[name] for name in COUNTED}

    def check(self) -> Iterator[Finding]:
        for each in self._request("GET", "/check")["findings"]:
            yield _record(records.FindingRecord, each).value()

    # -- HTTP

    def _id(self, who: str | int) -> int:
        who = arguments.person("who", who)
        if isinstance(who, int):
            return who
        name = unicodedata.normalize("NFC", who).strip()  # as the gallery keeps names
        for subject in self.subjects(search=name):
            if name == subject.name or name in subject.aliases:
                return subject.subject_id
        raise UnknownSubjectError(f"Nobody called {who!r} is enrolled.")

    def _post(
        self,
        path: str,
        *,
        params: Mapping[str, Any] | None = None,
        fields: Mapping[str, Any] | None = None,
        **images: Sequence[Image],
    ) -> dict[str, Any]:
        files = [(field, (_file_name(image), _read(image))) for field, each in images.items() for image in each]
        return self._request("POST", path, params=params, data=fields, files=files)

    def _request(self, method: str, path: str, **content: Any) -> dict[str, Any]:
        answer: dict[str, Any] = self._send(method, path, **content).json()
        return answer

    def _send(self, method: str, path: str, **content: Any) -> httpx.Response:
        params = {name: value for name, value in (content.pop("params", None) or {}).items() if value is not None}
        self.require_open()
        try:
            response = self._http.request(method, path, params=params, **content)
        except httpx.HTTPError as error:
            raise ServerError(f"The server cannot be reached: {error}.", "Is `facesearch serve` running?") from error
        if response.is_success:
            return response
        raise _error(response)


def _error(response: httpx.Response) -> FaceSearchError:
    """The error that the engine would have raised."""
    try:
        return records.ProblemRecord.model_validate_json(response.content).value()
    except ValidationError:
        return ServerError(f"The server answered {response.status_code}.", "Is it a facesearch server?")


def _record(kind: type[RecordT], values: Any) -> RecordT:
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        raise ServerError(
            "The server's answer cannot be understood.", "Use the server's version here: pip install -U facesearch"
        ) from error


def _pairs(where: Mapping[str, str] | None) -> list[str]:
    wanted = {} if where is None else arguments.texts("where", where)
    return [f"{name}={value}" for name, value in wanted.items()]


def _policy(faces: str) -> str:
    if faces not in ("single", "largest", "all"):
        raise ConfigError(f"faces is {arguments.shown(faces)}.", "Use one of: single, largest, all.")
    return faces


def _threshold(value: float | None) -> float | None:
    return None if value is None else arguments.number("threshold", value, -1, 1)


def _images(photos: Iterable[Image] | Image) -> list[Image]:
    """The photos in a list, or the one that is given alone; `ConfigError` where one cannot be a photo."""
    several = isinstance(photos, Iterable) and not isinstance(photos, str | Path | bytes | np.ndarray)
    images: list[Image] = list(photos) if several else [photos]  # type: ignore[arg-type, list-item]
    for image in images:
        arguments.photo(image)
    return images


def _read(image: Image) -> bytes:
    """The bytes of the file; pixels as PNG, which keeps them as they are."""
    arguments.photo(image)
    if isinstance(image, bytes):
        return image
    if not isinstance(image, str | Path):
        return _png(image)
    try:
        return Path(image).read_bytes()
    except OSError as error:
        raise PhotoError(f"{image} cannot be read: {error.strerror}.", reason=Reason.INACCESSIBLE) from error


def _png(image: Pixels | PillowImage) -> bytes:
    from PIL import Image as Pillow

    from facesearch.recognition.formats import upright_copy

    file = BytesIO()
    upright = Pillow.fromarray(image) if isinstance(image, np.ndarray) else upright_copy(image)
    upright.save(file, "PNG", compress_level=1)
    return file.getvalue()


def _file_name(image: Image) -> str:
    return path_text(Path(image).name) if isinstance(image, str | Path) else "photo"


def _subject(values: Any) -> Subject:
    _require_told(values)
    return _record(records.SubjectRecord, values).value()


def _entry(values: Any) -> JournalEntry:
    _require_told(values)
    return _record(records.HistoryRecord, values).value()


def _require_told(values: Any) -> None:
    """Raise `ServerError` where the server did what was asked, but tells a key without the scope `read` only the id."""
    if isinstance(values, dict) and values.keys() == {"id"}:
        raise ServerError(
            f"It is done, and its id is {values['id']}; the key may not be told more.",
            "Use a key with the scope read, too.",
        )
