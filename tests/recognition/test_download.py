"""Downloads: only over HTTPS, resumed where it is safe, capped, verified; and what may come out of an archive."""

from __future__ import annotations

import hashlib
import stat
import struct
import zipfile
from typing import TYPE_CHECKING

import pytest

from facesearch.errors import ModelError, ModelIntegrityError
from facesearch.recognition.packs.download import download, extract_members
from tests.recognition.file_server import FileServer, serve

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

BODY = bytes(range(256)) * 4096
SHA256 = hashlib.sha256(BODY).hexdigest()


@pytest.fixture
def server() -> Iterator[FileServer]:
    with serve(BODY) as running:
        yield running


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "models" / "pack.zip"


def fetch(server: FileServer, target: Path, *, sha256: str | None = SHA256, max_bytes: int = len(BODY)) -> str:
    return download(
        server.url,
        target,
        expected_size=None,
        max_bytes=max_bytes,
        sha256=sha256,
        progress=None,
        admit_loopback=True,
    )


def cut(server: FileServer, target: Path, after: int) -> None:
    """Leave the first `after` bytes behind, as a download that breaks off."""
    server.cut_after = after
    with pytest.raises(ModelError, match="cannot be downloaded"):
        fetch(server, target)
    server.cut_after = None


def assert_only(target: Path) -> None:
    assert target.read_bytes() == BODY
    assert list(target.parent.iterdir()) == [target]


def test_a_download_arrives_whole_and_leaves_nothing_else(server: FileServer, target: Path) -> None:
    assert fetch(server, target) == SHA256
    assert_only(target)


def test_progress_grows_to_the_total(server: FileServer, target: Path) -> None:
    seen: list[tuple[int, int | None]] = []
    download(
        server.url,
        target,
        expected_size=len(BODY),
        max_bytes=len(BODY),
        sha256=SHA256,
        progress=lambda done, total: seen.append((done, total)),
        admit_loopback=True,
    )
    assert seen == sorted(seen)
    assert seen[-1] == (len(BODY), len(BODY))


@pytest.mark.parametrize("after", [1, 300_000, len(BODY) - 1])
def test_a_cut_download_goes_on_where_it_stopped(server: FileServer, target: Path, after: int) -> None:
    cut(server, target, after)
    assert not target.exists()
    fetch(server, target)
    assert server.requests[-1]["Range"] == f"bytes={after}-"
    assert server.requests[-1]["If-Range"] == server.etag
    assert_only(target)


def test_a_download_cut_twice_still_completes(server: FileServer, target: Path) -> None:
    cut(server, target, 100_000)
    cut(server, target, 100_000)
    fetch(server, target)
    assert server.requests[-1]["Range"] == "bytes=200000-"
    assert_only(target)


def test_it_starts_anew_where_the_server_ignores_ranges(server: FileServer, target: Path) -> None:
    cut(server, target, 300_000)
    server.ranges = False
    fetch(server, target)
    assert_only(target)


def test_it_starts_anew_where_the_file_has_changed(server: FileServer, target: Path) -> None:
    server.body = bytes(len(BODY))
    cut(server, target, 300_000)
    server.body, server.etag = BODY, '"two"'
    fetch(server, target)
    assert_only(target)


@pytest.mark.parametrize("etag", [None, 'W/"weak"'])
def test_it_starts_anew_without_a_strong_etag(server: FileServer, target: Path, etag: str | None) -> None:
    server.etag = etag
    cut(server, target, 300_000)
    fetch(server, target)
    assert "Range" not in server.requests[-1]
    assert_only(target)


def test_it_starts_anew_where_the_server_sends_another_range(server: FileServer, target: Path) -> None:
    cut(server, target, 300_000)
    server.wrong_range = True
    fetch(server, target)
    assert_only(target)


def test_a_part_longer_than_the_file_is_dropped(server: FileServer, target: Path) -> None:
    cut(server, target, 300_000)
    part = target.with_name("pack.zip.part")
    part.write_bytes(bytes(len(BODY) + 5))
    fetch(server, target)
    assert_only(target)


def test_a_wrong_sha256_is_refused_and_forgotten(server: FileServer, target: Path) -> None:
    with pytest.raises(ModelIntegrityError, match="not the file that was expected"):
        fetch(server, target, sha256="0" * 64)
    assert list(target.parent.iterdir()) == []


def test_a_wrong_size_is_refused(server: FileServer, target: Path) -> None:
    with pytest.raises(ModelIntegrityError, match="not the file that was expected"):
        download(
            server.url,
            target,
            expected_size=len(BODY) + 1,
            max_bytes=len(BODY) + 1,
            sha256=None,
            progress=None,
            admit_loopback=True,
        )
    assert list(target.parent.iterdir()) == []


@pytest.mark.parametrize("states_length", [True, False])
def test_the_download_ends_at_the_cap(server: FileServer, target: Path, states_length: bool) -> None:
    server.states_length = states_length
    with pytest.raises(ModelIntegrityError, match="larger than"):
        fetch(server, target, max_bytes=len(BODY) - 1)
    assert list(target.parent.iterdir()) == []


def test_the_file_that_was_there_survives_a_failure(server: FileServer, target: Path) -> None:
    target.parent.mkdir()
    target.write_bytes(b"before")
    with pytest.raises(ModelIntegrityError):
        fetch(server, target, sha256="0" * 64)
    assert target.read_bytes() == b"before"


@pytest.mark.parametrize("status", [404, 500, 204])
def test_an_error_of_the_server_is_a_model_error(server: FileServer, target: Path, status: int) -> None:
    server.status = status
    with pytest.raises(ModelError, match=str(status)):
        fetch(server, target)
    assert not target.exists()


def test_without_a_network_the_error_says_how_to_do_it_by_hand(target: Path) -> None:
    with serve(b"") as gone:
        pass
    with pytest.raises(ModelError, match="cannot be downloaded") as caught:
        fetch(gone, target)
    hint = caught.value.hint or ""
    assert gone.url in hint
    assert SHA256 in hint
    assert str(target.parent) in hint


def test_plain_http_is_refused(server: FileServer, target: Path) -> None:
    with pytest.raises(ModelError, match="HTTPS only"):
        download(server.url, target, expected_size=None, max_bytes=len(BODY), sha256=SHA256, progress=None)
    assert server.requests == []


@pytest.mark.parametrize("address", ["http://localhost:1/pack.zip", "file:///etc/passwd"])
def test_a_redirect_away_from_https_is_refused(server: FileServer, target: Path, address: str) -> None:
    server.redirect = address
    with pytest.raises(ModelError, match="HTTPS only"):
        fetch(server, target)
    assert not target.exists()


def test_a_redirect_in_circles_ends(server: FileServer, target: Path) -> None:
    server.redirect = server.url
    with pytest.raises(ModelError, match="too many redirects"):
        fetch(server, target)


# Archives


def archive(tmp_path: Path, *members: tuple[str | zipfile.ZipInfo, bytes]) -> Path:
    path = tmp_path / "pack.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as opened:
        for name, data in members:
            opened.writestr(name, data)
    return path


def extract(path: Path, folder: Path, *, max_bytes: int = 1000, sha256: str | None = None) -> None:
    extract_members(path, {"det.onnx": (folder / "det.onnx", sha256, max_bytes)})


@pytest.mark.parametrize("inside", ["det.onnx", "antelopev2/det.onnx", "a\\b\\det.onnx"])
def test_a_member_is_found_by_its_base_name(tmp_path: Path, inside: str) -> None:
    path = archive(tmp_path, ("other.onnx", b"no"), (inside, b"model"))
    extract(path, tmp_path / "out", sha256=hashlib.sha256(b"model").hexdigest())
    assert [(file.name, file.read_bytes()) for file in (tmp_path / "out").iterdir()] == [("det.onnx", b"model")]


def link(name: str) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name)
    info.create_system = 3
    info.external_attr = (stat.S_IFLNK | 0o777) << 16
    return info


def xz(name: str) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name)
    info.compress_type = zipfile.ZIP_LZMA
    return info


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ([("../det.onnx", b"x")], "dangerous path"),
        ([("a/../../det.onnx", b"x")], "dangerous path"),
        ([("/det.onnx", b"x")], "dangerous path"),
        ([("C:\\det.onnx", b"x")], "dangerous path"),
        ([(link("det.onnx"), b"/etc/passwd")], "link"),
        ([("a/det.onnx", b"x"), ("b/det.onnx", b"y")], "twice"),
        ([(xz("det.onnx"), b"x")], "unusual compression"),
        ([("det.onnx/", b"")], "lacks det.onnx"),
        ([("other.onnx", b"x")], "lacks det.onnx"),
        ([("det.onnx", bytes(1001))], "larger than"),
    ],
)
def test_a_dangerous_archive_is_refused(
    tmp_path: Path, members: list[tuple[str | zipfile.ZipInfo, bytes]], message: str
) -> None:
    path = archive(tmp_path, *members)
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(ModelIntegrityError, match=message):
        extract(path, tmp_path / "out")
    assert [file for file in sorted(tmp_path.rglob("*")) if file not in before and file.is_file()] == []


def test_a_bomb_that_lies_about_its_size_is_refused(tmp_path: Path) -> None:
    path = archive(tmp_path, ("det.onnx", bytes(50_000_000)))
    raw = bytearray(path.read_bytes())
    directory = raw.rindex(b"PK\x01\x02")
    struct.pack_into("<I", raw, directory + 24, 10)  # uncompressed size in the central directory
    path.write_bytes(raw)
    with pytest.raises(ModelIntegrityError):
        extract(path, tmp_path / "out")
    assert not (tmp_path / "out" / "det.onnx").exists()


def test_a_member_with_another_sha256_is_refused_and_the_old_file_stays(tmp_path: Path) -> None:
    path = archive(tmp_path, ("det.onnx", b"new"))
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "det.onnx").write_bytes(b"old")
    with pytest.raises(ModelIntegrityError, match="instead of"):
        extract(path, tmp_path / "out", sha256="0" * 64)
    assert [(file.name, file.read_bytes()) for file in (tmp_path / "out").iterdir()] == [("det.onnx", b"old")]


@pytest.mark.parametrize("position", range(0, 1000, 97))
def test_a_damaged_archive_never_yields_another_file(tmp_path: Path, position: int) -> None:
    data = bytes(range(256)) * 8
    path = archive(tmp_path, ("det.onnx", data))
    raw = bytearray(path.read_bytes())
    raw[position % len(raw)] ^= 0xFF
    path.write_bytes(raw)
    try:
        extract(path, tmp_path / "out", max_bytes=len(data))
    except ModelIntegrityError:
        assert not (tmp_path / "out" / "det.onnx").exists()
    else:
        assert (tmp_path / "out" / "det.onnx").read_bytes() == data


def test_what_is_no_archive_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "pack.zip"
    path.write_bytes(b"<html>not found</html>")
    with pytest.raises(ModelIntegrityError, match="not an intact ZIP file"):
        extract(path, tmp_path / "out")
