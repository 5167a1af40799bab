"""Fetches an archive over HTTPS, resumably and with caps, and takes only the expected files out of it."""

from __future__ import annotations

import hashlib
import os
import stat
import zipfile
import zlib
from pathlib import Path, PurePosixPath
from typing import IO, TYPE_CHECKING, Final, TypeAlias

import httpx

from facesearch.errors import ModelError, ModelIntegrityError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    Progress: TypeAlias = Callable[[int, int | None], None]
    """Called with the bytes so far and, where known, the bytes in all."""

_BLOCK: Final = 1 << 18
_TIMEOUT: Final = httpx.Timeout(30.0)
"""Seconds without a byte, not of the whole download."""
_REDIRECTS: Final = 5
_HTTP_OK, _HTTP_PARTIAL, _HTTP_RANGE_NOT_SATISFIABLE = 200, 206, 416


def download(
    url: str,
    target: Path,
    *,
    expected_size: int | None,
    max_bytes: int,
    sha256: str | None,
    progress: Progress | None,
    admit_loopback: bool = False,
) -> str:
    """Fetch `url` to `target` and return its SHA-256 in hex.

    The bytes gather in `<target>.part`. An interrupted download goes on from there where the server's ETag still is
    the one noted in `<target>.part.etag`; otherwise it starts anew. The file gets its name only when it is complete.

    Args:
        url: https only, redirects included; with `admit_loopback` also http://127.0.0.1, for tests.
        expected_size: in bytes, None where it is not known.
        max_bytes: the download ends where it would exceed this.
        sha256: in hex, None where it is not known.
        progress: see `Progress`.

    Raises:
        ModelError: the network, the server or the disk does not deliver.
        ModelIntegrityError: not the size or the SHA-256 that was expected; what came is deleted.
    """
    part = target.with_name(f"{target.name}.part")
    by_hand = f"Or fetch {url} (SHA-256 {sha256 or 'not pinned'}) elsewhere and unpack it into {target.parent}."
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with httpx.Client(timeout=_TIMEOUT) as client:
            _fetch(client, url, part, max_bytes=max_bytes, progress=progress, admit_loopback=admit_loopback)
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise ModelError(
            f"{url} cannot be downloaded: {str(error) or type(error).__name__}.", f"Try again. {by_hand}"
        ) from error
    except OSError as error:
        raise ModelError(f"{target} cannot be written: {error.strerror}.", by_hand) from error
    actual = _hash(part)
    size = part.stat().st_size
    if (expected_size is not None and size != expected_size) or (sha256 is not None and actual != sha256):
        _forget(part)
        raise ModelIntegrityError(
            f"{url} is not the file that was expected: {size:,} bytes, SHA-256 {actual}.",
            f"Expected were {expected_size or 'any number of'} bytes, SHA-256 {sha256}. Try again.",
        )
    part.replace(target)
    _forget(part)
    _sync_folder(target.parent)
    return actual


def extract_members(archive: Path, wanted: Mapping[str, tuple[Path, str | None, int]]) -> None:
    """Take files out of a zip archive, by their base names, wherever in the archive they lie.

    Args:
        archive: the zip file.
        wanted: base name -> (where to write it, its SHA-256 in hex or None, the most bytes it may have).

    Each is written to a temporary file beside its target and renamed when it is complete and verified. Nothing else
    of the archive is looked at.

    Raises:
        ModelIntegrityError: the archive is damaged, lacks a file or holds it twice, or a file has a dangerous path,
            is a link, is too large or has another SHA-256.
        ModelError: the disk does not take it.
    """
    try:
        with zipfile.ZipFile(archive) as opened:
            members = _members(opened, wanted)
            for name, (target, sha256, max_bytes) in wanted.items():
                with opened.open(members[name]) as stream:
                    _write_verified(stream, name, target, sha256, max_bytes)
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
        raise ModelIntegrityError(f"{archive.name} is not an intact ZIP file: {error}.", "Fetch it again.") from error
    except OSError as error:
        raise ModelError(f"{archive} cannot be unpacked: {error.strerror}.", "Is the disk full?") from error


def _fetch(
    client: httpx.Client, url: str, part: Path, *, max_bytes: int, progress: Progress | None, admit_loopback: bool
) -> None:
    """Bring `part` up to the whole file."""
    etag_note = _etag_note(part)
    have = part.stat().st_size if part.is_file() else 0
    etag = etag_note.read_text(encoding="ascii") if etag_note.is_file() else ""
    identity = {"Accept-Encoding": "identity"}
    headers = identity | {"Range": f"bytes={have}-", "If-Range": etag} if have and etag else identity
    response = _open(client, url, headers, admit_loopback=admit_loopback)
    try:
        resumed = response.status_code == _HTTP_PARTIAL and _range_start(response) == have
        if response.status_code == _HTTP_RANGE_NOT_SATISFIABLE or (
            response.status_code == _HTTP_PARTIAL and not resumed
        ):
            response.close()
            response = _open(client, url, identity, admit_loopback=admit_loopback)
        response.raise_for_status()
        if not resumed:
            if response.status_code != _HTTP_OK:
                raise httpx.RemoteProtocolError(f"the server answered {response.status_code}")
            have = 0
            part.unlink(missing_ok=True)  # before the note, which must never stand beside another file's bytes
            etag_note.write_text(_strong_etag(response), encoding="ascii")
        _append(response, part, have, max_bytes=max_bytes, progress=progress)
    finally:
        response.close()


def _open(client: httpx.Client, url: str, headers: Mapping[str, str], *, admit_loopback: bool) -> httpx.Response:
    """The answer to a GET, its body still to come; every redirect is checked before it is followed."""
    request = client.build_request("GET", url, headers=headers)
    for _ in range(_REDIRECTS + 1):
        _check_address(request.url, admit_loopback=admit_loopback)
        response = client.send(request, stream=True)
        if response.next_request is None:
            return response
        request = response.next_request
        response.close()
    raise httpx.TooManyRedirects("too many redirects")


def _check_address(url: httpx.URL, *, admit_loopback: bool) -> None:
    if url.scheme == "https" or (admit_loopback and url.scheme == "http" and url.host == "127.0.0.1"):
        return
    raise ModelError(f"{url} is refused: downloads are over HTTPS only.")


def _append(response: httpx.Response, part: Path, have: int, *, max_bytes: int, progress: Progress | None) -> None:
    rest = response.headers.get("Content-Length", "")
    total = have + int(rest) if rest.isdigit() else None
    with part.open("r+b" if have else "wb") as file:
        file.seek(have)
        for block in response.iter_raw():  # as they come: given a size, httpx would drop a last short block on a cut
            have += len(block)
            if have > max_bytes:
                file.close()
                _forget(part)
                raise ModelIntegrityError(f"{response.url} is larger than the {max_bytes:,} bytes expected at most.")
            file.write(block)
            if progress is not None:
                progress(have, total)
        file.flush()
        os.fsync(file.fileno())


def _range_start(response: httpx.Response) -> int | None:
    """Where a 206 answer begins: `Content-Range: bytes 100-199/200` -> 100."""
    unit, _, span = response.headers.get("Content-Range", "").partition(" ")
    start = span.partition("-")[0]
    return int(start) if unit == "bytes" and start.isdigit() else None


def _strong_etag(response: httpx.Response) -> str:
    """The ETag, empty where there is none or only a weak one, which does not promise the same bytes (RFC 9110)."""
    etag = str(response.headers.get("ETag", ""))
    return etag if etag.isascii() and not etag.startswith("W/") else ""


def _etag_note(part: Path) -> Path:
    return part.with_name(f"{part.name}.etag")


def _forget(part: Path) -> None:
    part.unlink(missing_ok=True)
    _etag_note(part).unlink(missing_ok=True)


def _members(opened: zipfile.ZipFile, wanted: Mapping[str, object]) -> dict[str, zipfile.ZipInfo]:
    """The archive's entry for every wanted base name."""
    found: dict[str, zipfile.ZipInfo] = {}
    for entry in opened.infolist():
        path = PurePosixPath(entry.filename.replace("\\", "/"))
        if path.name not in wanted or entry.is_dir():
            continue
        if path.is_absolute() or ".." in path.parts or ":" in path.parts[0]:
            raise ModelIntegrityError(f"The archive holds a dangerous path: {entry.filename!r}.")
        kind = stat.S_IFMT(entry.external_attr >> 16)
        if kind not in (0, stat.S_IFREG):
            raise ModelIntegrityError(f"The archive holds {path.name} as a link or device, not as a file.")
        if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise ModelIntegrityError(f"The archive holds {path.name} in an unusual compression.")
        if path.name in found:
            raise ModelIntegrityError(f"The archive holds {path.name} twice.")
        found[path.name] = entry
    missing = wanted.keys() - found.keys()
    if missing:
        raise ModelIntegrityError(f"The archive lacks {', '.join(sorted(missing))}.")
    return found


def _write_verified(stream: IO[bytes], name: str, target: Path, sha256: str | None, max_bytes: int) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f"{target.name}.tmp")
    digest = hashlib.sha256()
    size = 0
    try:
        with temporary.open("wb") as file:
            while block := stream.read(_BLOCK):
                size += len(block)
                if size > max_bytes:  # counted while inflating: the sizes that the archive states may lie
                    raise ModelIntegrityError(f"{name} is larger than the {max_bytes:,} bytes expected at most.")
                digest.update(block)
                file.write(block)
            file.flush()
            os.fsync(file.fileno())
        if sha256 is not None and digest.hexdigest() != sha256:
            raise ModelIntegrityError(
                f"{name} has SHA-256 {digest.hexdigest()} instead of {sha256}.", "Fetch it again."
            )
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)
    _sync_folder(target.parent)


def _hash(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _sync_folder(folder: Path) -> None:
    """Make a rename durable; Windows has no handle of a folder and needs none."""
    if os.name == "nt":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
