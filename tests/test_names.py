"""File names as text: one printable form, from which the name comes back byte for byte."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from facesearch.errors import FaceSearchError
from facesearch.names import listed_path, path_text, person_name, printable, sentences, text_path
from facesearch.types import EnrollOutcome, EnrollStatus, Finding, Reason, Rejection

NAMES = st.lists(
    st.one_of(
        st.binary(min_size=1, max_size=4),
        st.sampled_from((b"\\", b"x", b"\\xff", b"\\x5c", b"\n", b"\xc2\x85", b"\xe2\x80\xae", "é李".encode())),
    ),
    min_size=1,
    max_size=6,
).map(lambda parts: b"".join(parts).replace(b"\0", b"").replace(b"/", b"") or b"a")


@pytest.mark.needs("unicode_names")
@given(raw=NAMES)
def test_a_name_comes_back_from_its_text_byte_for_byte(raw: bytes) -> None:
    text = path_text(os.fsdecode(raw))
    assert os.fsencode(text_path(text)) == raw


@given(raw=NAMES)
def test_the_text_of_a_name_is_one_line_of_valid_unicode_that_printing_leaves_as_it_is(raw: bytes) -> None:
    text = path_text(os.fsdecode(raw))
    text.encode()
    assert text.splitlines() == [text]
    assert printable(text) == text


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("He is Hugo C.. Ask him.", "He is Hugo C. Ask him."),
        ("It is Hugo C..", "It is Hugo C."),
        ("Wait ...", "Wait ..."),
        ("cd ..", "cd .."),
        ("Look in ../people or a/..", "Look in ../people or a/.."),
    ],
)
def test_a_name_that_ends_in_a_full_stop_ends_a_sentence(text: str, said: str) -> None:
    assert sentences(text) == said
    assert FaceSearchError(text, text).message == said
    assert Rejection(Reason.DUPLICATE, text).detail == said
    assert EnrollOutcome("1.jpg", "Hugo C.", EnrollStatus.MOVED, note=text).note == said


@given(one=NAMES, other=NAMES)
def test_two_names_have_two_texts(one: bytes, other: bytes) -> None:
    assert (path_text(os.fsdecode(one)) == path_text(os.fsdecode(other))) == (one == other)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("Zoë 李.jpg", "Zoë 李.jpg"),
        ("\N{MAN}\u200d\N{WOMAN}.jpg", "\N{MAN}\u200d\N{WOMAN}.jpg"),
        ("a\\b.jpg", "a\\b.jpg"),
        ("caf\udce9.jpg", r"caf\xe9.jpg"),
        ("a\nb.jpg", r"a\x0ab.jpg"),
        ("\u202egpj.exe", r"\xe2\x80\xaegpj.exe"),
        (r"caf\xe9.jpg", r"caf\x5cxe9.jpg"),
    ],
)
def test_what_is_readable_stays_as_it_is(name: str, text: str) -> None:
    assert path_text(name) == path_text(Path(name)) == text


def test_errors_rejections_and_findings_quote_any_name_printably() -> None:
    name = Path("a\udcff\n\x1b[2J.jpg")
    shown = r"a\xff\x0a\x1b[2J.jpg"
    error = FaceSearchError(f"{name} is gone.", f"Look for {name}.")
    assert (error.message, str(error), error.hint) == (f"{shown} is gone.", f"{shown} is gone.", f"Look for {shown}.")
    assert Rejection(Reason.UNREADABLE, f"{name} is empty.").detail == f"{shown} is empty."
    assert json.loads(json.dumps(Finding(True, "photos", f"{name}").detail)) == shown


def test_a_list_names_a_file_exactly_or_by_its_text(tmp_path: Path) -> None:
    exact, undecodable = tmp_path / r"caf\xe9.jpg", tmp_path / "caf\udce8.jpg"
    exact.touch()
    try:
        undecodable.touch()
    except OSError:
        pytest.skip("this file system has names in Unicode alone")
    assert listed_path(tmp_path, r"caf\xe9.jpg") == exact
    assert listed_path(tmp_path, r"caf\x5cxe9.jpg") == exact
    assert listed_path(tmp_path, r"caf\xe8.jpg") == undecodable
    assert listed_path(tmp_path, "x" * 5000) == tmp_path / ("x" * 5000)


def test_a_folder_whose_name_is_not_utf8_is_read_as_latin_1() -> None:
    assert person_name("Zo\udceb") == "Zoë"
    assert person_name("Zo\udcc3\udcab") == "Zoë"  # UTF-8, where the locale is the C locale
    assert person_name("Zoë 李") == "Zoë 李"


@pytest.mark.needs("unicode_names")
@pytest.mark.skipif(sys.platform != "linux", reason="Only Linux has locales without Unicode.")
def test_a_name_comes_back_in_a_locale_without_unicode(tmp_path: Path) -> None:
    (tmp_path / "Zoë").mkdir()
    program = (
        "import sys; from pathlib import Path; from facesearch.names import path_text, text_path\n"
        "found, = Path(sys.argv[1]).iterdir(); assert text_path(path_text(found)) == found\n"
        "print(sys.getfilesystemencoding())"
    )
    environment = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", program, str(tmp_path)]
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, check=True)
    assert done.stdout == b"ascii\n"
