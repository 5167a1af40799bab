"""The parts every page is built from. A plain `str` that reaches a page is text and is escaped; `Html` is markup."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

from facesearch.evaluation.charts import inline_svg
from facesearch.evaluation.rates import LOW_SUPPORT
from facesearch.evaluation.report import About

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_STYLE = Path(__file__).parent / "report.css"


class Html(str):
    """Markup. Only the functions of this package make it; any other string is text, however it looks."""

    __slots__ = ()


_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
"""Even a hole in the escaping could load nothing and run nothing."""
_JPEG = b"\xff\xd8\xff"


def text(value: str) -> Html:
    """Text as markup: the only way a string of the user's gets into a page."""
    return Html(escape(value))


def join(parts: Iterable[Html]) -> Html:
    """Parts one after the other."""
    return Html("\n".join(parts))


def element(tag: str, *parts: Html, css: str = "") -> Html:
    """`<tag class="css">parts</tag>`; `tag` and `css` are the program's own words."""
    attribute = f' class="{css}"' if css else ""
    return Html(f"<{tag}{attribute}>{''.join(parts)}</{tag}>")


def paragraph(value: str, css: str = "") -> Html:
    """A paragraph of text."""
    return element("p", text(value), css=css)


def section(title: str, *parts: Html) -> Html:
    """A section with its heading."""
    return element("section", element("h2", text(title)), join(parts))


def table(header: Sequence[str], rows: Iterable[Sequence[str | Html]], *, words: int = 1) -> Html:
    """A table that scrolls by itself where the screen is narrow; columns from `words` on hold numbers."""
    head = element("tr", *(element("th", text(cell), css="" if i < words else "n") for i, cell in enumerate(header)))
    body = [element("tr", *(_cell(cell, numeric=i >= words) for i, cell in enumerate(row))) for row in rows]
    whole = element("table", element("thead", head), element("tbody", *body))
    return Html(f'<div class="scroll" tabindex="0">{whole}</div>')


def _cell(cell: str | Html, *, numeric: bool) -> Html:
    return element("td", cell if isinstance(cell, Html) else text(cell), css="n" if numeric else "")


def facts(rows: Mapping[str, str]) -> Html:
    """Names and values in two columns."""
    pairs = (element("div", element("dt", text(name)), element("dd", text(value))) for name, value in rows.items())
    return element("dl", *pairs)


def plot(figure: Figure, caption: str) -> Html:
    """A figure, drawn into the page, with what to read from it."""
    return element("figure", Html(inline_svg(figure, caption)), element("figcaption", text(caption)))


def photo(name: str, thumbnails: Mapping[str, bytes]) -> Html:
    """The thumbnail of that name, or an empty frame; bytes that are no JPEG are left out."""
    data = thumbnails.get(name, b"")
    if not data.startswith(_JPEG):
        return element("span", text("no picture"), css="photo none")
    return Html(f'<img class="photo" alt="{escape(name)}" src="data:image/jpeg;base64,{_encoded(data)}">')


def _encoded(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")


def card(left: str, right: str, heading: str, lines: Sequence[str], thumbnails: Mapping[str, bytes]) -> Html:
    """Two photos side by side with what is to be said of them."""
    return element(
        "article",
        element("div", photo(left, thumbnails), photo(right, thumbnails), css="pair"),
        element("strong", text(heading)),
        *(element("small", text(line)) for line in lines),
    )


def badged(rows: Iterable[Sequence[str]]) -> list[tuple[str | Html, ...]]:
    """Rows whose last cell stands out where it is not empty."""
    return [(*row, element("span", text(last), css="flag") if last else "") for *row, last in rows]


def cards(parts: Iterable[Html]) -> Html:
    """Cards in as many columns as fit."""
    return element("div", *parts, css="cards")


RULE_OF_30 = (
    f"Fewer than {LOW_SUPPORT} errors are flagged (Doddington's rule of 30): with {LOW_SUPPORT} errors the true rate "
    "lies within about 30 % of the measured one, at 90 % confidence. A point with less than one expected error is "
    "unsupported and has no value. Nothing is interpolated or extrapolated."
)


TOO_FEW = f"Fewer than {LOW_SUPPORT} errors stand behind every point: read the figures with their intervals."
"""Said before a headline that rests on too little."""


def answer_box(lines: Sequence[str]) -> Html:
    """The answer, its first line in large type."""
    return element("div", *(paragraph(line, css="" if i else "big") for i, line in enumerate(lines)), css="answer")


def heading(about: About) -> Html:
    """Title and provenance."""
    model = f", model {about.model['model_id']}" if "model_id" in about.model else ""
    return element(
        "header",
        element("h1", text(about.title)),
        paragraph(f"{about.source}{model}; {about.created_at}, facesearch {about.facesearch}", css="sub"),
    )


def counts_table(kind: str, rows: Sequence[tuple[str, int, int]]) -> Html:
    """Planned, completed and failed, from (name, planned, completed) rows."""
    header = (kind, "planned", "completed", "failed")
    return table(header, ((name, f"{all_:,}", f"{done:,}", f"{all_ - done:,}") for name, all_, done in rows))


def flat(values: Mapping[str, object], prefix: str = "") -> dict[str, str]:
    """Nested settings as names with dots and text."""
    rows: dict[str, str] = {}
    for name, value in values.items():
        rows |= flat(value, f"{prefix}{name}.") if isinstance(value, dict) else {f"{prefix}{name}": str(value)}
    return rows


def page(title: str, *body: Html) -> str:
    """The whole document."""
    style = _STYLE.read_text(encoding="utf-8")
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="color-scheme" content="light dark">\n'
        f"<title>{escape(title)}</title>\n<style>\n{style}</style>\n</head>\n<body>\n<main>\n"
        f"{join(body)}\n</main>\n</body>\n</html>\n"
    )
