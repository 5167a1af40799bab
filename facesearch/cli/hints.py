"""Commands in messages, completed so that they do what they say when they are pasted.

A message sets a command in backticks, or lets it end the line.
"""

from __future__ import annotations

import os
import re
import shlex
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from pathlib import Path

COMMAND: Final = re.compile(
    r"`facesearch (?P<quoted>[^`\n]+)`|(?<!`)\bfacesearch (?P<last>[a-z][^`\n]*)$", re.MULTILINE
)
WITH_GALLERY: Final = frozenset(
    {
        "audit", "backup", "calibrate", "check", "db", "detect", "enroll", "eval", "export", "history", "import",
        "info", "init", "keys", "log", "models retire", "people", "query", "reembed", "reindex", "rekey", "restore",
        "serve", "undo", "verify",
    }
)  # fmt: skip
"""Commands and groups that take --gallery, apart from `eval compare`."""


@dataclass(frozen=True, slots=True)
class Typed:
    """What the running command was told about its gallery, which a command in its messages has to be told as well."""

    gallery: str | None = None
    """Without a password."""
    key_file: Path | None = None


NOTHING: Final = Typed()
typed: ContextVar[Typed] = ContextVar("facesearch_typed", default=NOTHING)


def pasteable(text: str) -> str:
    """The message with the typed --gallery and --key-file in its commands."""
    return COMMAND.sub(_completed, text) if typed.get() != NOTHING else text


def _completed(match: re.Match[str]) -> str:
    arguments = match["quoted"] or match["last"]
    if not _takes_gallery(arguments):
        return match[0]
    options, told = "", typed.get()
    if told.gallery is not None and "--gallery" not in arguments:
        options = f" --gallery {_quoted(told.gallery)}"
    key = f"--key-file {_quoted(str(told.key_file))} " if told.key_file is not None else ""
    return match[0].replace(f"facesearch {arguments}", f"facesearch {key}{arguments}{options}")


def _quoted(text: str) -> str:
    """An argument as a shell takes it, on one printable line: bytes that are no text as bash and zsh write them."""
    if text.isprintable():
        return shlex.quote(text)
    return "$'" + "".join(map(_in_quotes, text)) + "'"


def _in_quotes(character: str) -> str:
    if character.isprintable() and character not in "\\'":
        return character
    return "".join(f"\\x{byte:02x}" for byte in os.fsencode(character))


def _takes_gallery(arguments: str) -> bool:
    words = arguments.split()
    return words[:2] != ["eval", "compare"] and (words[0] in WITH_GALLERY or " ".join(words[:2]) in WITH_GALLERY)
