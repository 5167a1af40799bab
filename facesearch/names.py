r"""Names and numbers as text. A file name is bytes; text is made of it here and nowhere else.

One form serves people and programs, in results, errors, `--json`, HTTP, CSV files and pages. It is valid Unicode on one
line: a byte that is not UTF-8, a control character, a line break and a mark that reorders text become `\xNN` for each
of their bytes, and everything else stays as it is. A backslash in a name that would read as such an escape becomes
`\x5c`, so that `text_path` gives the file back.
"""

from __future__ import annotations

import os
import re
import unicodedata
from pathlib import Path
from typing import Final

REORDERING: Final = "\u202a-\u202e\u2066-\u2069"
"""Bidirectional overrides, as a range of a regular expression: they make one name look like another."""

_UNPRINTABLE: Final = re.compile(rf"[\x00-\x1f\x7f-\x9f\u2028\u2029{REORDERING}\ud800-\udfff]")
_ESCAPE_LIKE: Final = re.compile(r"\\(?=x[0-9a-f]{2})")
_TWO_STOPS: Final = re.compile(r"(?<=[^\s./])\.\.(?=\s|$)")
_BETWEEN: Final = re.compile(r"[_.,'\u2019-]")
"""What stands between the parts of a name, or not."""
_MARKS: Final = {"Mn", "Cf"}
"""Unicode categories of accents and of characters that cannot be seen."""
_MOST_DIGITS: Final = 17
"""Decimal places of a number below 1 that tell any two floats apart."""
_ESCAPES: Final = re.compile(r"(?:\\x[0-9a-f]{2})+")


def printable(text: str) -> str:
    """Return text as one line of valid Unicode that no terminal, page or database takes for more than text.

    Text that is printable comes back as it is.
    """
    return text if text.isprintable() else _UNPRINTABLE.sub(_escape, text)


def sentences(text: str) -> str:
    """Return text without the second full stop where a name that ends in one ends a sentence."""
    return _TWO_STOPS.sub(".", text)


def told_apart(value: float, limit: float, digits: int = 0) -> tuple[str, str]:
    """Both numbers with as many decimal places as show that they differ, and with `digits` at least."""
    shown = f"{value:.{digits}f}", f"{limit:.{digits}f}"
    if shown[0] == shown[1] and value != limit and digits < _MOST_DIGITS:
        return told_apart(value, limit, digits + 1)
    return shown


def counted(count: int, one: str, many: str = "") -> str:
    """Return a number with its noun: `1 photo`, `1,200 photos`, `2 people`."""
    return f"{count:,} {one if count == 1 else many or f'{one}s'}"


def path_text(path: Path | str) -> str:
    """Return the text form of a file name or path."""
    return printable(_ESCAPE_LIKE.sub(r"\\x5c", os.fspath(path)))


def text_path(text: str) -> Path:
    """Return the path whose text form is `text`."""
    return Path(_ESCAPES.sub(_unescape, text))


def listed_path(folder: Path, text: str) -> Path:
    """Return the file that a list calls `text`, from `folder` on: the one of exactly that name, else of that text form.

    A list is text, so that it cannot hold a name that is no text.
    """
    exact = folder / text
    return exact if is_there(exact) else folder / text_path(text)


def is_there(path: Path) -> bool:
    """Whether a file or folder is there; nothing is where no file system takes the name or nobody may look."""
    return os.path.exists(path)  # noqa: PTH110  # Path.exists raises OSError


def is_folder(path: Path) -> bool:
    """Whether a folder is there, likewise."""
    return os.path.isdir(path)  # noqa: PTH112


def is_file(path: Path) -> bool:
    """Whether a regular file is there, likewise."""
    return os.path.isfile(path)  # noqa: PTH113


def person_name(name: str) -> str:
    """Return a file's or folder's name as the name of the person in it, for `clean_name` to judge.

    A name is read as UTF-8 whatever the locale says, and one that is not UTF-8 as Latin-1, which old archives hold.
    """
    try:
        name.encode()
    except UnicodeEncodeError:
        raw = os.fsencode(name)
    else:
        return name
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return raw.decode("latin-1")


def searchable(name: str) -> str:
    """Return a person's name as it is compared in searches: without case, accents, joiners and underscores."""
    plain = (
        character for character in unicodedata.normalize("NFKD", name) if unicodedata.category(character) not in _MARKS
    )
    return " ".join(_BETWEEN.sub(" ", "".join(plain).casefold()).split())


def _escape(match: re.Match[str]) -> str:
    character = match[0]
    lone_byte = "\udc80" <= character <= "\udcff"  # how Python keeps a byte that is not UTF-8
    raw = bytes([ord(character) - 0xDC00]) if lone_byte else character.encode("utf-8", "surrogatepass")
    return "".join(f"\\x{byte:02x}" for byte in raw)


def _unescape(match: re.Match[str]) -> str:
    return os.fsdecode(bytes.fromhex(match[0].replace("\\x", "")))
