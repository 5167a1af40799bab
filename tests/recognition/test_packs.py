"""Model packs: by name and by folder, pulled from a real server, verified, and refused with a way out."""

from __future__ import annotations

import functools
import hashlib
import io
import re
import shutil
import zipfile
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from facesearch.errors import ConfigError, ModelError, ModelIntegrityError, ModelNotFoundError
from facesearch.recognition.packs.download import download
from facesearch.recognition.packs.folder import Terms
from facesearch.recognition.packs.graph import Port, node, tensor, write_graph
from facesearch.recognition.packs.store import DEFAULT_PACK, KNOWN_PACKS, KnownFile, KnownPack, PackStore
from tests.recognition.file_server import FileServer, serve

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

import numpy as np

DETECTOR, RECOGNIZER = b"a detector", b"a recogniser, longer"


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def zipped(**files: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as opened:
        for name, data in files.items():
            opened.writestr(name.replace("__", "/") + ".onnx", data)
    return buffer.getvalue()


# The registry


def test_the_default_pack_is_known_and_comes_first() -> None:
    assert next(iter(KNOWN_PACKS)) == DEFAULT_PACK == "buffalo_l"


@pytest.mark.parametrize("pack", KNOWN_PACKS.values(), ids=list(KNOWN_PACKS))
def test_pins_are_complete_or_absent(pack: KnownPack) -> None:
    pins = [(pack.archive_size, pack.archive_sha256), *((file.size, file.sha256) for file in pack.files)]
    for size, digest in pins:
        assert (size is None) == (digest is None)
        assert digest is None or re.fullmatch("[0-9a-f]{64}", digest)
    urls = [pack.url] if pack.url else [file.url for file in pack.files]
    assert all(url and url.startswith("https://") for url in urls)
    assert [pack.notice.count(each) for each in (": licence: ", "; training data: ", "; use: ")] == [2, 2, 2]
    assert ("non-commercial" in pack.notice) is (pack.url is not None)


def test_a_file_of_a_host_of_its_own_is_pinned() -> None:
    files = [file for pack in KNOWN_PACKS.values() for file in pack.files if file.url]
    assert {file.url.split("/")[2] for file in files if file.url} == {"github.com", "huggingface.co"}
    assert all(file.size and file.sha256 for file in files)
    by_sha256 = {file.sha256: file for pack in KNOWN_PACKS.values() for file in pack.files}
    assert len({file.terms for file in by_sha256.values() if file.name == "glintr100.onnx"}) == 2  # a licence a file


def test_pins_agree_with_real_files(assets: Path) -> None:
    real = {path.name: path.read_bytes() for path in (assets / "models").rglob("det_*.onnx")}
    pinned = {file.name: file for pack in KNOWN_PACKS.values() for file in pack.files}
    for name, data in real.items():
        assert (len(data), sha256(data)) == (pinned[name].size, pinned[name].sha256)
    assert real


# Names


@pytest.fixture
def toy() -> KnownPack:
    """A pack whose files are not even models: `find` looks at sizes only."""
    archive = zipped(det=DETECTOR, rec=RECOGNIZER, other=b"unused")
    return KnownPack(
        name="toy",
        summary="",
        url="https://localhost/toy.zip",
        detector=KnownFile("det.onnx", len(DETECTOR), sha256(DETECTOR)),
        recognizer=KnownFile("rec.onnx", len(RECOGNIZER), sha256(RECOGNIZER)),
        archive_size=len(archive),
        archive_sha256=sha256(archive),
        threshold=0.3,
        threshold_basis="made up",
    )


def install(folder: Path) -> None:
    folder.mkdir(parents=True)
    (folder / "det.onnx").write_bytes(DETECTOR)
    (folder / "rec.onnx").write_bytes(RECOGNIZER)


def store_of(pack: KnownPack, *folders: Path, **options: Any) -> PackStore:
    return PackStore(folders, registry={pack.name: pack}, **options)


def test_a_known_pack_is_found_with_its_pins(tmp_path: Path, toy: KnownPack) -> None:
    install(tmp_path / "toy")
    pack = store_of(toy, tmp_path).find("toy")
    assert (pack.detector.path, pack.detector.sha256) == (tmp_path / "toy" / "det.onnx", sha256(DETECTOR))
    assert (pack.recognizer.path, pack.recognizer.sha256) == (tmp_path / "toy" / "rec.onnx", sha256(RECOGNIZER))
    assert (pack.recognizer.input_mean, pack.recognizer.input_std, pack.recognizer.dimension) == (127.5, 127.5, 512)
    assert (pack.name, pack.threshold, pack.threshold_basis) == ("toy", 0.3, "made up")


@pytest.mark.parametrize("inside", ["second/toy", "first/toy/toy", "second/toy/toy"])
def test_it_is_looked_for_in_every_folder_and_one_level_deeper(tmp_path: Path, toy: KnownPack, inside: str) -> None:
    install(tmp_path / inside)
    pack = store_of(toy, tmp_path / "first", tmp_path / "second").find("toy")
    assert pack.detector.path.parent == tmp_path / inside


def test_the_first_folder_wins(tmp_path: Path, toy: KnownPack) -> None:
    install(tmp_path / "first" / "toy")
    install(tmp_path / "second" / "toy")
    pack = store_of(toy, tmp_path / "first", tmp_path / "second").find("toy")
    assert pack.detector.path.parent == tmp_path / "first" / "toy"


def test_a_missing_pack_says_how_to_get_it(tmp_path: Path) -> None:
    with pytest.raises(ModelNotFoundError) as caught:
        PackStore([tmp_path]).find("buffalo_l")
    assert caught.value.hint == "facesearch models pull buffalo_l"
    with pytest.raises(ModelNotFoundError, match="downloads are off") as caught:
        PackStore([tmp_path], offline=True).find("buffalo_l")
    pack = KNOWN_PACKS["buffalo_l"]
    for part in (pack.url, pack.detector.name, pack.recognizer.name, str(tmp_path / pack.name)):
        assert str(part) in (caught.value.hint or "")
    assert "models pull" not in (caught.value.hint or "")


def test_half_a_pack_is_missing(tmp_path: Path, toy: KnownPack) -> None:
    install(tmp_path / "toy")
    (tmp_path / "toy" / "rec.onnx").unlink()
    with pytest.raises(ModelNotFoundError):
        store_of(toy, tmp_path).find("toy")


def test_a_file_of_another_size_is_refused(tmp_path: Path, toy: KnownPack) -> None:
    install(tmp_path / "toy")
    (tmp_path / "toy" / "rec.onnx").write_bytes(RECOGNIZER[:-1])
    with pytest.raises(ModelIntegrityError, match=r"rec\.onnx has 19 bytes instead of 20") as caught:
        store_of(toy, tmp_path).find("toy")
    assert caught.value.hint == "Fetch it again: facesearch models pull toy"


def test_a_misspelt_name_is_answered_with_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="Did you mean buffalo_l") as caught:
        PackStore([tmp_path]).find("bufalo_l")
    assert all(name in str(caught.value.hint) for name in KNOWN_PACKS)


def test_a_folder_that_is_not_there_is_no_misspelt_name(tmp_path: Path) -> None:
    with pytest.raises(ModelNotFoundError, match="There is no folder"):
        PackStore([tmp_path]).find(tmp_path / "nowhere")


def test_a_store_needs_a_folder() -> None:
    with pytest.raises(ConfigError):
        PackStore([])


# Folders


def scrfd(outputs: int = 9) -> bytes:
    names = [f"o{index}" for index in range(outputs)]
    return write_graph(
        "det",
        nodes=[node("Identity", ["x"], [name]) for name in names],
        weights=[],
        inputs=[Port("x", (1, 3, None, None))],
        outputs=[Port(name, (None, None, None, None)) for name in names],
    )


def arcface(*opening: str, size: int = 112, dimension: int | str = 64) -> bytes:
    values = ["x", *(f"v{index}" for index in range(len(opening)))]
    nodes = [node(op, [values[i], "one"], [values[i + 1]]) for i, op in enumerate(opening)]
    return write_graph(
        "rec",
        nodes=[*nodes, node("Flatten", [values[-1]], ["y"])],
        weights=[tensor("one", np.ones(1, np.float32))],
        inputs=[Port("x", ("n", 3, size, size))],
        outputs=[Port("y", ("n", dimension))],
    )


def folder_of(folder: Path, toml: str = "", /, **files: bytes) -> Path:
    folder.mkdir(exist_ok=True)
    for name, data in files.items():
        (folder / f"{name}.onnx").write_bytes(data)
    if toml:
        (folder / "pack.toml").write_text(toml, encoding="utf-8")
    return folder


TOML = """
name = "mine"
licence = "my own"
[detector]
file = "det.onnx"
[recognizer]
file = "rec.onnx"
input_mean = 0
input_std = 1.0
dimension = 64
[threshold]
score = 0.25
basis = "measured"
"""


def find_folder(folder: Path) -> Any:
    return PackStore([folder.parent / "models"]).find(folder)


def test_a_declared_pack_is_read(tmp_path: Path) -> None:
    pack = find_folder(folder_of(tmp_path / "p", TOML, det=b"d", rec=b"r"))
    assert (pack.name, pack.threshold, pack.threshold_basis) == ("mine", 0.25, "measured")
    assert pack.detector.terms.licence == pack.recognizer.terms.licence == "my own"
    assert (pack.detector.path, pack.detector.sha256) == (tmp_path / "p" / "det.onnx", sha256(b"d"))
    assert (pack.recognizer.input_mean, pack.recognizer.input_std, pack.recognizer.dimension) == (0.0, 1.0, 64)


def test_terms_kind_and_channel_order_are_declared_by_file(tmp_path: Path) -> None:
    toml = TOML.replace('"det.onnx"', '"det.onnx"\nkind = "yunet"\nlicence = "MIT"\ndata = "faces"\nuse = "any"')
    toml = toml.replace("dimension = 64", 'dimension = 64\nchannel_order = "BGR"')
    pack = find_folder(folder_of(tmp_path / "p", toml, det=b"d", rec=b"r"))
    assert (pack.detector.kind, pack.detector.terms) == ("yunet", Terms("MIT", "faces", "any"))
    assert (pack.recognizer.channel_order, pack.recognizer.terms.licence) == ("BGR", "my own")
    for wrong in (toml.replace('"yunet"', '"haar"'), toml.replace('"BGR"', '"YUV"')):
        with pytest.raises(ConfigError, match="must be one of"):
            find_folder(folder_of(tmp_path / "p", wrong, det=b"d", rec=b"r"))


def test_a_declared_sha256_is_taken_at_its_word(tmp_path: Path) -> None:
    toml = TOML.replace('"det.onnx"', f'"det.onnx"\nsha256 = "{"AB" * 32}"')
    assert find_folder(folder_of(tmp_path / "p", toml, det=b"d", rec=b"r")).detector.sha256 == "ab" * 32


def test_what_is_not_declared_is_read_from_the_graph_or_said_to_be_unmeasured(tmp_path: Path) -> None:
    toml = '[detector]\nfile = "det.onnx"\n[recognizer]\nfile = "rec.onnx"\n'
    pack = find_folder(folder_of(tmp_path / "p", toml, det=scrfd(), rec=arcface("Sub", "Mul")))
    assert (pack.name, pack.recognizer.input_mean, pack.recognizer.input_std) == ("p", 0.0, 1.0)
    assert "not measured" in pack.threshold_basis
    assert "not stated" in pack.recognizer.terms.licence


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('name = "mine"', "name = 3", "name must be of type str"),
        ('name = "mine"', 'naem = "mine"', "unknown key 'naem'"),
        ("dimension = 64", "dimension = 64.5", "dimension must be of type int"),
        ("dimension = 64", "dimension = true", "dimension must be of type int"),
        ("dimension = 64", "dimension = 0", "dimension is out of range"),
        ("input_std = 1.0", "input_std = 0.0", "input_std is out of range"),
        ("input_mean = 0", "input_mean = inf", "input_mean is out of range"),
        ("input_std = 1.0", "input_std = nan", "input_std is out of range"),
        ("score = 0.25", "score = 1.5", "score is out of range"),
        ("score = 0.25", "score = nan", "score is out of range"),
        ("score = 0.25", 'score = "high"', "score must be of type float"),
        ('"det.onnx"', '"det.onnx"\nsha256 = "abc"', "64 hexadecimal digits"),
        ('"det.onnx"', '"../det.onnx"', "inside the pack's folder"),
        ('"det.onnx"', '"/etc/passwd"', "inside the pack's folder"),
        ('file = "det.onnx"', "", "file is missing"),
        ("[detector]", "[detektor]", "unknown key 'detektor'"),
        ("[detector]", "detector = [", "cannot be read"),
        ('[detector]\nfile = "det.onnx"', "", r"\[detector\] is missing"),
    ],
)
def test_a_wrong_declaration_is_refused(tmp_path: Path, old: str, new: str, message: str) -> None:
    (tmp_path / "det.onnx").write_bytes(b"outside")
    folder = folder_of(tmp_path / "p", TOML.replace(old, new, 1), det=b"d", rec=b"r")
    with pytest.raises(ConfigError, match=message):
        find_folder(folder)


def test_a_link_out_of_the_folder_is_refused(tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "p", TOML, rec=b"r")
    (tmp_path / "outside.onnx").write_bytes(b"d")
    (folder / "det.onnx").symlink_to(tmp_path / "outside.onnx")
    with pytest.raises(ConfigError, match="inside the pack's folder"):
        find_folder(folder)


def test_a_declared_file_that_is_missing_is_not_found(tmp_path: Path) -> None:
    with pytest.raises(ModelNotFoundError, match=r"det\.onnx is missing"):
        find_folder(folder_of(tmp_path / "p", TOML, rec=b"r"))


def test_a_folder_without_a_declaration_is_told_by_its_graphs(tmp_path: Path) -> None:
    files = {"a": scrfd(), "b": arcface(dimension=64), "genderage": arcface(size=96), "other": scrfd(2)}
    pack = find_folder(folder_of(tmp_path / "p", **files))
    assert (pack.detector.path.name, pack.recognizer.path.name) == ("a.onnx", "b.onnx")
    assert (pack.detector.sha256, pack.recognizer.sha256) == (sha256(files["a"]), sha256(files["b"]))
    assert (pack.recognizer.input_mean, pack.recognizer.input_std, pack.recognizer.dimension) == (127.5, 127.5, 64)


def test_a_dimension_that_the_graph_leaves_open_is_unknown(tmp_path: Path) -> None:
    pack = find_folder(folder_of(tmp_path / "p", a=scrfd(), b=arcface(dimension="d")))
    assert pack.recognizer.dimension is None


@pytest.mark.parametrize(
    ("opening", "scaling"),
    [(("Sub", "Mul"), (0.0, 1.0)), (("Mul",), (127.5, 127.5)), (("Sub",), (127.5, 127.5)), ((), (127.5, 127.5))],
)
def test_a_recogniser_that_scales_its_input_itself_gets_raw_pixels(
    tmp_path: Path, opening: tuple[str, ...], scaling: tuple[float, float]
) -> None:
    pack = find_folder(folder_of(tmp_path / "p", a=scrfd(), b=arcface(*opening)))
    assert (pack.recognizer.input_mean, pack.recognizer.input_std) == scaling


@pytest.mark.parametrize("files", [{}, {"a": scrfd()}, {"a": scrfd(), "b": arcface(), "c": arcface()}])
def test_a_folder_that_does_not_tell_is_refused(tmp_path: Path, files: dict[str, bytes]) -> None:
    with pytest.raises(ConfigError, match="one of each is needed") as caught:
        find_folder(folder_of(tmp_path / "p", **files))
    assert "pack.toml" in str(caught.value.hint)


def test_a_detector_without_landmarks_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelIntegrityError, match="no landmarks"):
        find_folder(folder_of(tmp_path / "p", a=scrfd(6), b=arcface()))


def test_a_damaged_graph_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelIntegrityError):
        find_folder(folder_of(tmp_path / "p", a=scrfd(), b=arcface()[:-9]))


def test_a_folder_inside_the_store_is_found_by_its_name(tmp_path: Path) -> None:
    folder_of(tmp_path / "mine", TOML, det=b"d", rec=b"r")
    assert PackStore([tmp_path / "other", tmp_path]).find("mine").detector.path == tmp_path / "mine" / "det.onnx"


def test_the_real_pack_is_read_with_and_without_its_declaration(testpack_dir: Path, tmp_path: Path) -> None:
    declared = find_folder(testpack_dir)
    for path in testpack_dir.glob("*.onnx"):
        shutil.copy(path, tmp_path)
    told = find_folder(tmp_path)
    assert "InsightFace" in declared.detector.terms.licence
    assert told.detector == replace(
        declared.detector, path=tmp_path / declared.detector.path.name, terms=told.detector.terms
    )
    assert told.recognizer == replace(
        declared.recognizer, path=tmp_path / declared.recognizer.path.name, terms=told.recognizer.terms
    )


# Pulling and verifying


@pytest.fixture
def server() -> Iterator[FileServer]:
    with serve(zipped(antelope__det=DETECTOR, antelope__rec=RECOGNIZER, other=b"unused")) as running:
        yield running


@pytest.fixture
def pinned(server: FileServer, toy: KnownPack) -> KnownPack:
    return replace(toy, url=server.url, archive_size=len(server.body), archive_sha256=sha256(server.body))


@pytest.fixture
def unpinned(pinned: KnownPack) -> KnownPack:
    return replace(
        pinned,
        archive_size=None,
        archive_sha256=None,
        detector=KnownFile("det.onnx"),
        recognizer=KnownFile("rec.onnx"),
    )


FETCH = functools.partial(download, admit_loopback=True)


def test_a_pull_leaves_the_two_files_and_nothing_else(tmp_path: Path, pinned: KnownPack) -> None:
    seen: list[str] = []
    pack = store_of(pinned, tmp_path / "a", tmp_path / "b", fetch=FETCH).pull("toy", notice=seen.append)
    assert sorted(path.name for path in (tmp_path / "a" / "toy").iterdir()) == ["det.onnx", "rec.onnx"]
    assert pack.recognizer.path.read_bytes() == RECOGNIZER
    assert seen == [pinned.notice]
    assert "det.onnx: licence: not stated" in seen[0]


def test_a_pack_of_single_files_comes_from_several_hosts(tmp_path: Path, toy: KnownPack) -> None:
    with serve(DETECTOR) as one, serve(RECOGNIZER) as other:
        terms = Terms("MIT", "WIDER FACE", "any")
        files = [replace(file, url=host.url, terms=terms) for file, host in zip(toy.files, (one, other), strict=True)]
        single = replace(toy, url=None, archive_size=None, archive_sha256=None, detector=files[0], recognizer=files[1])
        store = store_of(single, tmp_path, fetch=FETCH)
        pack = store.pull("toy")
        assert (pack.detector.path.read_bytes(), pack.recognizer.path.read_bytes()) == (DETECTOR, RECOGNIZER)
        assert pack.detector.terms == pack.recognizer.terms == terms
        assert single.download_size == len(DETECTOR) + len(RECOGNIZER)
        assert all(each.ok for each in store.verify("toy"))
        wrong = replace(single, recognizer=replace(files[1], sha256="0" * 64))
        with pytest.raises(ModelIntegrityError, match="not the file that was expected"):
            store_of(wrong, tmp_path / "other", fetch=FETCH).pull("toy")
        assert not list((tmp_path / "other" / "toy").glob("rec*"))
    with pytest.raises(ModelNotFoundError) as caught:
        store_of(single, tmp_path / "nowhere", offline=True).find("toy")
    assert all(str(file.url) in str(caught.value.hint) for file in files)


def test_resolve_pulls_only_what_is_not_there(tmp_path: Path, pinned: KnownPack, server: FileServer) -> None:
    store = store_of(pinned, tmp_path, fetch=FETCH)
    notices: list[str] = []
    assert store.resolve("toy", notice=notices.append) == store.resolve("toy", notice=notices.append)
    assert len(server.requests) == len(notices) == 1


def test_offline_nothing_is_pulled(tmp_path: Path, pinned: KnownPack, server: FileServer) -> None:
    store = store_of(pinned, tmp_path, offline=True, fetch=FETCH)
    with pytest.raises(ModelNotFoundError):
        store.resolve("toy")
    with pytest.raises(ConfigError, match="switched off"):
        store.pull("toy")
    assert server.requests == []


def test_a_missing_folder_is_never_pulled(tmp_path: Path, pinned: KnownPack) -> None:
    with pytest.raises(ModelNotFoundError):
        store_of(pinned, tmp_path, fetch=FETCH).resolve(tmp_path / "nowhere")


def test_only_known_packs_can_be_pulled(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="can be pulled"):
        PackStore([tmp_path]).pull("mine")


def test_a_pull_replaces_damaged_files(tmp_path: Path, pinned: KnownPack) -> None:
    install(tmp_path / "toy")
    (tmp_path / "toy" / "rec.onnx").write_bytes(b"damaged")
    store = store_of(pinned, tmp_path, fetch=FETCH)
    with pytest.raises(ModelIntegrityError):
        store.find("toy")
    store.pull("toy")
    assert all(check.ok for check in store.verify("toy"))


def test_an_archive_with_another_file_in_it_is_refused(tmp_path: Path, pinned: KnownPack) -> None:
    other = replace(pinned, recognizer=KnownFile("rec.onnx", len(RECOGNIZER), "0" * 64))
    with pytest.raises(ModelIntegrityError, match="instead of"):
        store_of(other, tmp_path, fetch=FETCH).pull("toy")
    assert not (tmp_path / "toy" / "rec.onnx").exists()


def test_a_failed_download_is_a_model_error(tmp_path: Path, pinned: KnownPack, server: FileServer) -> None:
    server.status = 404
    with pytest.raises(ModelError, match="404"):
        store_of(pinned, tmp_path, fetch=FETCH).resolve("toy")


def test_a_file_without_a_pin_is_trusted_on_first_use(tmp_path: Path, unpinned: KnownPack, server: FileServer) -> None:
    store = store_of(unpinned, tmp_path, fetch=FETCH)
    assert store.pull("toy").recognizer.sha256 == sha256(RECOGNIZER)
    assert (tmp_path / "toy" / "rec.onnx.sha256").read_text() == f"{sha256(RECOGNIZER)}  rec.onnx\n"

    (tmp_path / "toy" / "rec.onnx").write_bytes(b"tampered")
    assert store.find("toy").recognizer.sha256 == sha256(RECOGNIZER)
    assert [check.ok for check in store.verify("toy")] == [True, False]

    server.body, server.etag = zipped(det=DETECTOR, rec=b"another release"), '"two"'
    with pytest.raises(ModelIntegrityError, match="instead of"):
        store.pull("toy")


def test_an_unpinned_file_that_was_not_pulled_is_hashed_as_it_is(tmp_path: Path, unpinned: KnownPack) -> None:
    install(tmp_path / "toy")
    store = store_of(unpinned, tmp_path)
    assert store.find("toy").recognizer.sha256 == sha256(RECOGNIZER)
    assert all(check.ok and "nothing to compare" in check.detail for check in store.verify("toy"))


def test_a_damaged_note_of_an_sha256_is_refused(tmp_path: Path, unpinned: KnownPack) -> None:
    install(tmp_path / "toy")
    (tmp_path / "toy" / "rec.onnx.sha256").write_text("")
    with pytest.raises(ModelIntegrityError, match=r"rec\.onnx\.sha256"):
        store_of(unpinned, tmp_path).find("toy")


def test_verify_reports_each_file(tmp_path: Path, toy: KnownPack) -> None:
    install(tmp_path / "toy")
    (tmp_path / "toy" / "det.onnx").write_bytes(b"b detector")
    store = store_of(toy, tmp_path)
    detector, recognizer = store.verify("toy")
    assert (detector.ok, recognizer.ok) == (False, True)
    assert sha256(DETECTOR) in detector.detail
    assert sha256(b"b detector") in detector.detail


def test_verify_checks_a_folder_against_its_declaration(tmp_path: Path) -> None:
    toml = TOML.replace('"det.onnx"', f'"det.onnx"\nsha256 = "{"0" * 64}"')
    folder = folder_of(tmp_path / "p", toml, det=b"d", rec=b"r")
    assert [check.ok for check in PackStore([tmp_path]).verify(folder)] == [False, True]


def test_verify_needs_the_pack(tmp_path: Path, toy: KnownPack) -> None:
    with pytest.raises(ModelNotFoundError):
        store_of(toy, tmp_path).verify("toy")


def test_installed_lists_every_pack_with_what_is_wrong_with_it(tmp_path: Path, toy: KnownPack) -> None:
    install(tmp_path / "first" / "toy" / "toy")
    folder_of(tmp_path / "first" / "mine", TOML, det=b"d", rec=b"r")
    folder_of(tmp_path / "first" / "broken", a=scrfd())
    (tmp_path / "first" / "empty").mkdir()
    install(tmp_path / "second" / "toy")
    folder_of(tmp_path / "second" / "mine", TOML, det=b"hidden", rec=b"by the first")
    found = store_of(toy, tmp_path / "first", tmp_path / "second", tmp_path / "third").installed()
    assert [(pack.name, pack.size, pack.problem is None) for pack in found] == [
        ("broken", 0, False),
        ("mine", 2, True),
        ("toy", len(DETECTOR) + len(RECOGNIZER), True),
    ]
    assert found[2].folder == tmp_path / "first" / "toy" / "toy"


def test_known_lists_the_registry(tmp_path: Path) -> None:
    assert [pack.name for pack in PackStore([tmp_path]).known()] == list(KNOWN_PACKS)
