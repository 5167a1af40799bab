"""Names that somebody could try: pieces that mean something to a shell, a database, a page, a path or a terminal."""

from __future__ import annotations

import random

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
