"""Model files from a hostile or broken source, the whole way from a server to a session: refused, and nothing is left.

What each part does by itself is tested with the part; here it is that nothing gets past all of them.
"""

from __future__ import annotations

import functools
import hashlib
import io
import random
import shutil
import stat
import struct
import zipfile
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest

from facesearch.errors import ConfigError, ModelError, ModelIntegrityError
from facesearch.recognition.packs.download import download
from facesearch.recognition.packs.graph import parse_model
from facesearch.recognition.packs.store import KnownFile, KnownPack, ModelPack, PackStore
from facesearch.recognition.runtime import Session, choose_provider, open_session
from tests.recognition.file_server import FileServer, serve
from tests.recognition.models import detector_model, recognizer_model

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

DETECTOR, RECOGNIZER = detector_model([(8, 8, 24)]), recognizer_model()
FETCH = functools.partial(download, admit_loopback=True)
TOML = """
name = "toy"
licence = "for tests"
[detector]
file = "det.onnx"
{det_sha256}
[recognizer]
file = "rec.onnx"
input_mean = 127.5
input_std = 127.5
dimension = 3
{rec_sha256}
[threshold]
score = 0.3
basis = "made up"
"""


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def zipped(*members: tuple[str | zipfile.ZipInfo, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as opened:
        for name, data in members:
            opened.writestr(name, data)
    return buffer.getvalue()


WHOLE = zipped(("det.onnx", DETECTOR), ("rec.onnx", RECOGNIZER))


@pytest.fixture
def server() -> Iterator[FileServer]:
    with serve(WHOLE) as running:
        yield running


def pinned(server: FileServer) -> KnownPack:
    return KnownPack(
        name="toy",
        summary="",
        url=server.url,
        detector=KnownFile("det.onnx", len(DETECTOR), sha256(DETECTOR)),
        recognizer=KnownFile("rec.onnx", len(RECOGNIZER), sha256(RECOGNIZER)),
        archive_size=len(WHOLE),
        archive_sha256=sha256(WHOLE),
        threshold=0.3,
        threshold_basis="made up",
    )


def unpinned(server: FileServer) -> KnownPack:
    """The least protection there is: only the caps and the checks of the contents are left."""
    return replace(
        pinned(server),
        archive_size=None,
        archive_sha256=None,
        detector=KnownFile("det.onnx"),
        recognizer=KnownFile("rec.onnx"),
        max_archive_size=1_000_000,
    )


def store_in(folder: Path, pack: KnownPack) -> PackStore:
    return PackStore([folder], registry={pack.name: pack}, fetch=FETCH)


def files_below(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def sessions(pack: ModelPack) -> list[Session]:
    """Both models, opened as the extractor opens them."""
    cpu = choose_provider("cpu")
    return [open_session(file.path, cpu, sha256=file.sha256, threads=1) for file in (pack.detector, pack.recognizer)]


def test_what_comes_whole_is_opened_and_runs(tmp_path: Path, server: FileServer) -> None:
    store = store_in(tmp_path, pinned(server))
    store.pull("toy")
    _, recognizer = sessions(store.find("toy"))
    assert recognizer.run(np.ones((1, 3, 112, 112), np.float32))[0].shape == (1, 3)
    assert sorted(files_below(tmp_path)) == ["toy/det.onnx", "toy/rec.onnx"]


@pytest.mark.parametrize("position", range(0, len(WHOLE), len(WHOLE) // 12))
def test_an_archive_with_a_flipped_bit_is_refused(tmp_path: Path, server: FileServer, position: int) -> None:
    damaged = bytearray(WHOLE)
    damaged[position] ^= 1 << position % 8
    server.body = bytes(damaged)
    with pytest.raises(ModelIntegrityError, match="not the file that was expected"):
        store_in(tmp_path, pinned(server)).pull("toy")
    assert files_below(tmp_path) == {}


def test_without_a_pin_a_flipped_bit_is_refused_or_changes_no_model(tmp_path: Path, server: FileServer) -> None:
    rng = random.Random(7)
    refused = 0
    for number in range(16):
        damaged = bytearray(WHOLE)
        damaged[rng.randrange(len(WHOLE))] ^= 1 << rng.randrange(8)
        server.body = bytes(damaged)
        folder = tmp_path / str(number)
        try:
            pack = store_in(folder, unpinned(server)).pull("toy")
        except ModelIntegrityError:
            refused += 1
            assert not (folder / "toy" / "toy.zip").exists()
        else:  # in a field of the archive that nobody looks at
            assert pack.detector.path.read_bytes() == DETECTOR
            assert pack.recognizer.path.read_bytes() == RECOGNIZER
    assert refused > 8


def link(name: str, target: bytes) -> tuple[zipfile.ZipInfo, bytes]:
    info = zipfile.ZipInfo(name)
    info.create_system = 3
    info.external_attr = (stat.S_IFLNK | 0o777) << 16
    return info, target


def lying_bomb() -> bytes:
    """50 MB that the archive's directory declares as 10 bytes."""
    data = bytearray(zipped(("rec.onnx", RECOGNIZER), ("det.onnx", bytes(50_000_000))))
    struct.pack_into("<I", data, data.rindex(b"PK\x01\x02") + 24, 10)
    return bytes(data)


@pytest.mark.parametrize(
    "archive",
    [
        pytest.param(zipped(("../det.onnx", DETECTOR), ("../rec.onnx", RECOGNIZER)), id="path upwards"),
        pytest.param(zipped(("a/../../../det.onnx", DETECTOR), ("rec.onnx", RECOGNIZER)), id="path up and down"),
        pytest.param(zipped(("/tmp/det.onnx", DETECTOR), ("rec.onnx", RECOGNIZER)), id="absolute path"),
        pytest.param(zipped(("C:\\det.onnx", DETECTOR), ("rec.onnx", RECOGNIZER)), id="drive"),
        pytest.param(zipped(link("det.onnx", b"../../secret"), ("rec.onnx", RECOGNIZER)), id="link"),
        pytest.param(
            zipped(link("folder", b"../.."), ("folder/det.onnx", DETECTOR), ("folder/../rec.onnx", RECOGNIZER)),
            id="link to a folder",
        ),
        pytest.param(zipped(("det.onnx", bytes(50_000_000)), ("rec.onnx", RECOGNIZER)), id="bomb"),
        pytest.param(lying_bomb(), id="bomb that lies"),
        pytest.param(zipped(("rec.onnx", RECOGNIZER)), id="half a pack"),
        pytest.param(WHOLE[: len(WHOLE) // 2], id="half an archive"),
        pytest.param(b"<!doctype html><title>Sign in</title>", id="a page"),
    ],
)
def test_a_hostile_archive_leaves_nothing_anywhere(tmp_path: Path, server: FileServer, archive: bytes) -> None:
    (tmp_path / "secret").write_bytes(b"not to be read or written")
    server.body = archive
    store = store_in(tmp_path / "deep" / "models", unpinned(server))
    with pytest.raises(ModelIntegrityError):
        store.pull("toy")
    left = files_below(tmp_path)
    assert left.pop("secret") == b"not to be read or written"
    assert set(left) <= {"deep/models/toy/rec.onnx"}, "a whole model beside the refused one may stay"
    assert left.get("deep/models/toy/rec.onnx", RECOGNIZER) == RECOGNIZER
    with pytest.raises(ModelError):
        store.find("toy")


def test_a_download_beyond_the_cap_ends_there(tmp_path: Path, server: FileServer) -> None:
    server.body = zipped(("det.onnx", DETECTOR), ("rec.onnx", RECOGNIZER), ("x", random.Random(1).randbytes(2_000_000)))
    for states_length in (True, False):
        server.states_length = states_length
        with pytest.raises(ModelIntegrityError):
            store_in(tmp_path, unpinned(server)).pull("toy")
    assert sum(map(len, files_below(tmp_path).values())) <= 1_000_000


def test_a_cut_download_is_resumed_by_the_next_pull(tmp_path: Path, server: FileServer) -> None:
    store = store_in(tmp_path, pinned(server))
    server.cut_after = len(WHOLE) // 3
    with pytest.raises(ModelError, match="cannot be downloaded"):
        store.pull("toy")
    with pytest.raises(ModelError):
        store.find("toy")
    server.cut_after = None
    sessions(store.pull("toy"))
    assert server.requests[-1]["Range"] == f"bytes={len(WHOLE) // 3}-"
    assert sorted(files_below(tmp_path)) == ["toy/det.onnx", "toy/rec.onnx"]


@pytest.mark.parametrize("pins", ["known", "declared"])
def test_a_model_that_changed_on_the_disk_is_refused_when_it_is_opened(
    tmp_path: Path, server: FileServer, pins: str
) -> None:
    store = store_in(tmp_path, pinned(server))
    store.pull("toy")
    folder = tmp_path / "toy"
    if pins == "declared":
        digests = {f"{part}_sha256": f'sha256 = "{sha256(data)}"' for part, data in
                   (("det", DETECTOR), ("rec", RECOGNIZER))}  # fmt: skip
        shutil.copytree(folder, tmp_path / "declared")
        folder = tmp_path / "declared"
        (folder / "pack.toml").write_text(TOML.format(**digests))
    pack = store.find("toy" if pins == "known" else folder)
    sessions(pack)
    for name, data in (("det.onnx", DETECTOR), ("rec.onnx", RECOGNIZER)):
        for position in range(0, len(data), len(data) // 25):
            damaged = bytearray(data)
            damaged[position] ^= 1 << position % 8
            (folder / name).write_bytes(damaged)
            with pytest.raises(ModelIntegrityError, match="SHA-256 differs"):
                sessions(pack)
        (folder / name).write_bytes(data)
    sessions(pack)


def test_weights_in_other_files_are_refused_by_the_folder_and_by_the_session(
    tmp_path: Path, server: FileServer
) -> None:
    model = parse_model(DETECTOR)
    weight = model.graph.initializer[0]
    (tmp_path / "weights.bin").write_bytes(weight.raw_data)
    weight.ClearField("raw_data")
    weight.data_location = 1
    weight.external_data.add(key="location", value="weights.bin")
    hostile = model.SerializeToString()
    (tmp_path / "det.onnx").write_bytes(hostile)
    (tmp_path / "rec.onnx").write_bytes(RECOGNIZER)
    with pytest.raises(ModelIntegrityError, match="other files"):
        store_in(tmp_path, pinned(server)).find(tmp_path)

    server.body = zipped(("det.onnx", hostile), ("rec.onnx", RECOGNIZER), ("weights.bin", b"secret"))
    pack = store_in(tmp_path / "models", unpinned(server)).pull("toy")  # a known pack's graph is read when it is opened
    with pytest.raises(ModelIntegrityError, match="other files"):
        sessions(pack)
    assert sorted(files_below(tmp_path / "models" / "toy")) == [
        "det.onnx", "det.onnx.sha256", "rec.onnx", "rec.onnx.sha256",
    ]  # fmt: skip


def test_a_linked_model_file_is_refused_in_a_folder(tmp_path: Path, server: FileServer) -> None:
    folder = tmp_path / "mine"
    folder.mkdir()
    (tmp_path / "outside.onnx").write_bytes(DETECTOR)
    (folder / "det.onnx").symlink_to(tmp_path / "outside.onnx")
    (folder / "rec.onnx").write_bytes(RECOGNIZER)
    (folder / "pack.toml").write_text(TOML.format(det_sha256="", rec_sha256=""))
    with pytest.raises(ConfigError, match="inside the pack's folder"):
        store_in(tmp_path, pinned(server)).find(folder)
