"""Model packs: which exist, where they lie on this machine, and how one is pulled and verified.

A pack is named (`buffalo_l`) or a folder. The SHA-256 of a file is pinned where independent projects agree on it; a
file without a pin is trusted on first use: its SHA-256 is written beside it when it is pulled, and holds from then
on. `find` looks at sizes only; whoever opens a model checks the SHA-256 of the very bytes that it runs.
"""

from __future__ import annotations

import difflib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from facesearch.errors import ConfigError, FaceSearchError, ModelIntegrityError, ModelNotFoundError
from facesearch.names import is_folder, path_text, text_path
from facesearch.recognition.packs.folder import (
    SHA256_PATTERN,
    DetectorFile,
    ModelPack,
    RecognizerFile,
    file_sha256,
    read_pack_folder,
)
from facesearch.recognition.packs.known import DEFAULT_PACK, KNOWN_PACKS, KnownFile, KnownPack

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from facesearch.recognition.packs.download import Progress

    Notice = Callable[[str], None]
    """Called with a text that the user has to see before a download."""

__all__ = [
    "DEFAULT_PACK",
    "KNOWN_PACKS",
    "DetectorFile",
    "FileCheck",
    "InstalledPack",
    "KnownFile",
    "KnownPack",
    "ModelPack",
    "PackStore",
    "RecognizerFile",
    "file_sha256",
]


class Fetch(Protocol):
    """How a file gets here; `facesearch.recognition.packs.download.download` unless a test says otherwise."""

    def __call__(
        self,
        url: str,
        target: Path,
        *,
        expected_size: int | None,
        max_bytes: int,
        sha256: str | None,
        progress: Progress | None,
    ) -> object: ...


@dataclass(frozen=True, slots=True)
class FileCheck:
    """What `verify` found out about one file."""

    path: Path
    ok: bool
    detail: str


@dataclass(frozen=True, slots=True)
class InstalledPack:
    """A pack that lies in one of the store's folders."""

    name: str
    folder: Path
    size: int
    """Bytes of its two files; 0 where it cannot be used."""
    problem: str | None
    """Why it cannot be used."""


class PackStore:
    """The folders in which packs are looked for; the first one is where pulls go, the others are only read."""

    def __init__(
        self,
        folders: Sequence[Path],
        *,
        offline: bool = False,
        registry: Mapping[str, KnownPack] = KNOWN_PACKS,
        fetch: Fetch | None = None,
    ) -> None:
        if not folders:
            raise ConfigError("No folder for models is given.")
        self._folders = tuple(folders)
        self._offline = offline
        self._registry = registry
        self._fetch = fetch

    def known(self) -> tuple[KnownPack, ...]:
        """The packs that can be pulled by name."""
        return tuple(self._registry.values())

    def find(self, name_or_folder: str | Path) -> ModelPack:
        """The pack of that name, or in that folder or the one of that text form, as it lies on this machine.

        Raises:
            ConfigError: no pack is called that, or a folder's `pack.toml` is not valid.
            ModelNotFoundError: the pack is known but not here.
            ModelIntegrityError: a file has the wrong size or structure.
        """
        text = os.fspath(name_or_folder)
        if text in self._registry:
            return self._find_known(self._registry[text])
        folder = Path(text).expanduser()
        for place in (folder, text_path(text), *(base / text for base in self._folders)):
            if is_folder(place):
                return read_pack_folder(place)
        if folder.is_absolute() or len(folder.parts) > 1 or isinstance(name_or_folder, Path):
            raise ModelNotFoundError(f"There is no folder {folder}.", self._known_names())
        near = difflib.get_close_matches(text, self._registry, n=1)
        suggestion = f" Did you mean {near[0]}?" if near else ""
        raise ConfigError(f"No model pack is called {text!r}.{suggestion}", self._known_names())

    def resolve(
        self, name_or_folder: str | Path, *, progress: Progress | None = None, notice: Notice | None = None
    ) -> ModelPack:
        """`find`, and where a known pack is not here and the store is not offline, `pull`.

        Raises:
            ConfigError, ModelNotFoundError, ModelIntegrityError: as `find`.
            ModelError: the pull failed.
        """
        try:
            return self.find(name_or_folder)
        except ModelNotFoundError:
            if self._offline or os.fspath(name_or_folder) not in self._registry:
                raise
        return self.pull(os.fspath(name_or_folder), progress=progress, notice=notice)

    def pull(self, name: str, *, progress: Progress | None = None, notice: Notice | None = None) -> ModelPack:
        """Download a known pack into the first folder, over what is there, and return it.

        Raises:
            ConfigError: no known pack is called that, or the store is offline.
            ModelError: the download failed.
            ModelIntegrityError: what came is not what was expected.
        """
        from facesearch.recognition.packs.download import download

        if name not in self._registry:
            raise ConfigError(f"No pack called {name!r} can be pulled.", self._known_names())
        if self._offline:
            raise ConfigError(f"{name} cannot be pulled: downloads are switched off.", "Unset FACESEARCH_OFFLINE.")
        pack = self._registry[name]
        if notice is not None:
            notice(pack.notice)
        folder = self._folders[0] / name
        fetch = self._fetch or download
        for file in pack.files:
            if file.url is not None:
                most = file.size or pack.max_archive_size
                fetch(
                    file.url,
                    folder / file.name,
                    expected_size=file.size,
                    max_bytes=most,
                    sha256=file.sha256,
                    progress=progress,
                )
        if pack.url is not None:
            self._pull_archive(pack, pack.url, folder, progress)
        for file in pack.files:
            if file.sha256 is None:
                _record_sha256(folder / file.name)
        return self._find_known(pack)

    def _pull_archive(self, pack: KnownPack, url: str, folder: Path, progress: Progress | None) -> None:
        """Those of the pack's files that have no URL of their own."""
        from facesearch.recognition.packs.download import download, extract_members

        archive = folder / f"{pack.name}.zip"
        (self._fetch or download)(
            url,
            archive,
            expected_size=pack.archive_size,
            max_bytes=pack.archive_size or pack.max_archive_size,
            sha256=pack.archive_sha256,
            progress=progress,
        )
        wanted = {
            file.name: (folder / file.name, _expected_sha256(file, folder), file.size or pack.max_archive_size)
            for file in pack.files
            if file.url is None
        }
        try:
            extract_members(archive, wanted)
        except ModelIntegrityError:
            archive.unlink()  # of no use to anybody
            raise
        archive.unlink()

    def verify(self, name_or_folder: str | Path) -> list[FileCheck]:
        """Hash both files of a pack and compare. Raises as `find`, but for a wrong size, which is a result."""
        text = os.fspath(name_or_folder)
        if text in self._registry:
            known = self._registry[text]
            folder = self._folder_of(known)
            if folder is None:
                raise self._not_found(known)
            expected = [(folder / file.name, _expected_sha256(file, folder)) for file in known.files]
        else:
            pack = self.find(name_or_folder)
            expected = [(file.path, file.sha256) for file in (pack.detector, pack.recognizer)]
        return [_check(path, sha256) for path, sha256 in expected]

    def installed(self) -> list[InstalledPack]:
        """Every pack in the store's folders, usable or not, by name; the first folder that has one hides the others."""
        places: dict[str, Path] = {}
        for base in self._folders:
            for place in sorted(base.iterdir()) if base.is_dir() else ():
                if place.is_dir() and any(place.rglob("*.onnx")):
                    places.setdefault(path_text(place.name), place)
        return [self._installed(name, folder) for name, folder in sorted(places.items())]

    def _installed(self, name: str, folder: Path) -> InstalledPack:
        try:
            pack = self.find(name if name in self._registry else folder)
        except FaceSearchError as error:
            return InstalledPack(name, folder, 0, error.message)
        files = (pack.detector.path, pack.recognizer.path)
        return InstalledPack(name, files[0].parent, sum(path.stat().st_size for path in files), None)

    def _find_known(self, pack: KnownPack) -> ModelPack:
        folder = self._folder_of(pack)
        if folder is None:
            raise self._not_found(pack)
        for file in pack.files:
            size = (folder / file.name).stat().st_size
            if file.size is not None and size != file.size:
                raise ModelIntegrityError(
                    f"{folder / file.name} has {size:,} bytes instead of {file.size:,}.",
                    f"Fetch it again: facesearch models pull {pack.name}",
                )
        detector, recognizer = folder / pack.detector.name, folder / pack.recognizer.name
        return ModelPack(
            name=pack.name,
            detector=DetectorFile(
                detector,
                _expected_sha256(pack.detector, folder) or file_sha256(detector),
                terms=pack.detector.terms,
            ),
            recognizer=RecognizerFile(
                recognizer,
                _expected_sha256(pack.recognizer, folder) or file_sha256(recognizer),
                pack.input_mean,
                pack.input_std,
                pack.dimension,
                terms=pack.recognizer.terms,
            ),
            threshold=pack.threshold,
            threshold_basis=pack.threshold_basis,
        )

    def _folder_of(self, pack: KnownPack) -> Path | None:
        """The first folder with both files; archives with a folder inside (antelopev2) end up one level deeper."""
        for base in self._folders:
            for folder in (base / pack.name, base / pack.name / pack.name):
                if all((folder / file.name).is_file() for file in pack.files):
                    return folder
        return None

    def _not_found(self, pack: KnownPack) -> ModelNotFoundError:
        files = " and ".join(file.url or f"{file.name} of {pack.url}" for file in pack.files)
        by_hand = f"Put {files} into {self._folders[0] / pack.name}."
        return ModelNotFoundError(
            f"The model pack {pack.name} is not on this machine{', and downloads are off' if self._offline else ''}.",
            by_hand if self._offline else f"facesearch models pull {pack.name}",
        )

    def _known_names(self) -> str:
        return f"Known packs: {', '.join(self._registry)}; or give a folder with a pack.toml."


def _sidecar(path: Path) -> Path:
    return path.with_name(f"{path.name}.sha256")


def _record_sha256(path: Path) -> None:
    """Write the SHA-256 beside the file, in the format of `sha256sum`."""
    _sidecar(path).write_text(f"{file_sha256(path)}  {path.name}\n", encoding="ascii")


def _expected_sha256(file: KnownFile, folder: Path) -> str | None:
    """The pinned SHA-256, else the one recorded when the file was first pulled, else None."""
    if file.sha256 is not None:
        return file.sha256
    sidecar = _sidecar(folder / file.name)
    if not sidecar.is_file():
        return None
    recorded = sidecar.read_bytes().partition(b" ")[0].decode("ascii", errors="replace")
    if not SHA256_PATTERN.fullmatch(recorded):
        raise ModelIntegrityError(
            f"{sidecar} is damaged: it does not begin with a SHA-256.",
            "Delete it and the model, and fetch the pack again with `facesearch models pull PACK`.",
        )
    return recorded


def _check(path: Path, expected: str | None) -> FileCheck:
    actual = file_sha256(path)
    if expected is None:
        return FileCheck(path, True, f"SHA-256 {actual}, with nothing to compare it to")
    if actual != expected:
        return FileCheck(path, False, f"SHA-256 {actual} instead of {expected}")
    return FileCheck(path, True, f"SHA-256 {actual}")
