"""The style sheet of all pages: light, dark and print; one column that a telephone can show."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import TYPE_CHECKING

from facesearch.evaluation.charts import inline_svg

if TYPE_CHECKING:
    from matplotlib.figure import Figure

CSS = """
:root{--ink:#1b1b1f;--muted:#63636b;--grid:#dcdce2;--paper:#fefefe;--soft:#f3f3f6;
--blue:#0072b2;--vermilion:#d55e00;--green:#009e73;--purple:#cc79a7}
@media screen and (prefers-color-scheme:dark){:root{--ink:#ececf0;--muted:#a3a3ad;--grid:#3a3a42;--paper:#17171b;
--soft:#222228;--blue:#58b0e6;--vermilion:#f08a3c;--green:#3fc49b;--purple:#dd9cc0}}
*{box-sizing:border-box}
html{background:var(--paper);color:var(--ink);font:16px/1.5 system-ui,"Segoe UI",Roboto,"DejaVu Sans",sans-serif}
body{margin:0}
main{max-width:62rem;margin:0 auto;padding:1.5rem 1rem 4rem}
h1{font-size:1.6rem;line-height:1.2;margin:0 0 .25rem;overflow-wrap:anywhere}
h2{font-size:1.2rem;margin:2.5rem 0 .5rem;padding-top:.75rem;border-top:1px solid var(--grid)}
h3{font-size:1rem;margin:1.5rem 0 .25rem}
p{margin:.5rem 0;max-width:46rem}
.sub,figcaption,small,.note{color:var(--muted);font-size:.875rem;overflow-wrap:anywhere}
.answer{background:var(--soft);border-left:4px solid var(--blue);padding:.75rem 1rem;margin:1.25rem 0}
.answer p{margin:.25rem 0}
.answer .big{font-size:1.25rem;line-height:1.35}
.warn{border-left:4px solid var(--vermilion);padding-left:.75rem}
.scroll{overflow-x:auto;margin:.75rem 0}
table{border-collapse:collapse;font-size:.9rem;min-width:100%}
th,td{padding:.3rem .6rem;border-bottom:1px solid var(--grid);text-align:left;vertical-align:top}
th{font-weight:600;color:var(--muted);vertical-align:bottom}
.n{text-align:right;font-variant-numeric:tabular-nums;white-space:nowrap}
dl{display:grid;grid-template-columns:repeat(auto-fill,minmax(15rem,1fr));gap:.25rem 2rem;margin:.75rem 0}
dl div{border-bottom:1px solid var(--grid);padding:.25rem 0}
dt{color:var(--muted);font-size:.85rem}
dd{margin:0;font-variant-numeric:tabular-nums;overflow-wrap:anywhere}
.plots{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,27rem),1fr));gap:1.5rem}
figure{margin:0;max-width:40rem;break-inside:avoid}
figure svg{width:100%;height:auto;display:block}
.cards{display:grid;grid-template-columns:repeat(auto-fill,minmax(11.5rem,1fr));gap:1rem;margin:.75rem 0}
article{break-inside:avoid;font-size:.9rem}
article small{display:block;font-size:.78rem;line-height:1.35}
.pair{display:grid;grid-template-columns:1fr 1fr;gap:2px;margin-bottom:.25rem}
.photo{display:block;width:100%;aspect-ratio:1;object-fit:cover;background:var(--soft)}
.none{display:grid;place-items:center;color:var(--muted);font-size:.75rem}
.flag{white-space:nowrap;font-size:.78rem;font-weight:600;border:1px solid;border-radius:.6rem;padding:0 .45rem;
color:var(--vermilion)}
@media print{html{font-size:10.5pt}main{max-width:none;padding:0}.scroll{overflow:visible}
section h2{break-after:avoid}.plots{grid-template-columns:1fr 1fr}.cards{grid-template-columns:repeat(4,1fr)}
.answer{border:1px solid #999;border-left-width:4px}}
"""


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


def page(title: str, *body: Html) -> str:
    """The whole document."""
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="color-scheme" content="light dark">\n'
        f"<title>{escape(title)}</title>\n<style>{CSS}</style>\n</head>\n<body>\n<main>\n"
        f"{join(body)}\n</main>\n</body>\n</html>\n"
    )
