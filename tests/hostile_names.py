"""Names that somebody could try: pieces that mean something to a shell, a database, a page, a path or a terminal."""

from __future__ import annotations

import random
import unicodedata

PIECES = (
    "'", '"', "`", ";", "--", "/*", "DROP TABLE subjects", "' OR 1=1", "%", "_", "*", "?", "[", "]", "{", "}", "$(id)",
    "${HOME}", "\\", "/", "..", "../", "C:\\", "con", "~", "-rf", "--gallery", "-", "=", "key=value", "<b>",
    "</script>",
    "<script>alert(1)</script>", "&amp;", "&", "{{7*7}}", "%s", "%n", "%00", "\0", "\n", "\r", "\t",
    "\x1b[2J",
    "\x07",
    "\x7f", "\x85", "\u200b", "\u200d", "\u200e", "\u200f", "\u2028", "\u2029",
    "\u202a", "\u202e", "\u2066", "\u2069",
    "\ufeff", "\ufffd", "\ud800", "\udcff", "\U0010ffff", "\u0301", "e\u0301", "\u00e9", "\u05d0\u05d1", "\u0645\u062d",
    "\u674e", "\N{GRINNING FACE}", "\N{MAN}\u200d\N{WOMAN}", " ", "\u00a0", "\u3000", "a", "Anna", "0", "NaN", "null",
    "None", "true", "a" * 60, "\u1e9e", "\u0130", "I", "\ufb01", "\u212b",
)  # fmt: skip


def hostile_names(seed: int, count: int) -> list[str]:
    """`count` different names, the same for the same seed; some are twice the length that is allowed."""
    source = random.Random(seed)
    names: dict[str, None] = {}
    while len(names) < count:
        names["".join(source.choices(PIECES, k=source.choice((1, 1, 2, 3, 5, 8))))] = None
    return list(names)


def visible(name: str) -> str:
    """The name as a gallery keeps it: NFC, and without blanks around it and characters of no width."""
    kept = ""
    for character in name:
        joins = character in "\u200c\u200d" and kept[-1:] >= "\u0590"
        if joins or character not in "\u200b\u2060\ufeff\u00ad\u200c\u200d":
            kept += character
    plain = unicodedata.normalize("NFC", kept).strip()
    return plain if plain == name else visible(plain)


UNDECODABLE = b"Q\xffQ"
"""Bytes that are not UTF-8, between letters that show what became of them."""
AFTER_A_LINE_BREAK = "BROKEN"
"""What follows a line break in a name: a line that begins with it is a name that broke a line."""

FILE_NAMES = (
    UNDECODABLE,
    f"first\n{AFTER_A_LINE_BREAK}".encode(),
    f"first\r{AFTER_A_LINE_BREAK}".encode(),
    f"first\u2028{AFTER_A_LINE_BREAK}".encode(),
    b"tab\there",
    b"\x1b[2Jescape",
    b"\xc2\x9b2Jescape",
    "Zo\u00eb".encode(),
    "Zoe\u0308".encode(),
    "\u202egpj".encode(),
    "\u05d0\u05d1 \N{GRINNING FACE} \u674e".encode(),
    b"n" * 250,
    b"~",
    b"[ab]*? {c}",
    b"%41 %s %00",
    b"$(id);`id`;${HOME}",
    b"-rf",
    b"--gallery=x",
    b"'single' \"double\"",
    b"<img src=x onerror=alert(1)>",
    b"' OR 1=1; --",
    b" blanks ",
    b"back\\slash\\xff\\x0a",
    b"upload:0",
    b"&amp;#65;",
    b"=1+1",
)
"""Names of files and folders as bytes, each of which Linux keeps."""
