"""The tables of docs/performance.md on scale, from what `python -m benchmarks scale --json` wrote."""

from __future__ import annotations

from typing import Any, Final

FAR: Final = {"1e+07": "10 million", "1e+08": "100 million", "1e+09": "1,000 million"}
Figures = dict[str, dict[str, Any]]


def index_table(figures: Figures) -> str:
    """The largest size of each index that was measured, what follows for more, and the hardware for that."""
    head = ["index", "templates", "search", "add 16", "remove 4", "memory", "nodes", "searches/s a node", ""]
    engines = dict.fromkeys(name.partition(",")[0] for name in figures if name.endswith(": nodes"))
    return _markdown(head, [_row(figures, engine, label) for engine in engines for label in _labels(figures, engine)])


def gallery_table(figures: Figures) -> str:
    """A whole gallery in SQLite: the largest size measured, and what follows for more."""
    labels = _labels(figures, "gallery")
    operations = [name.partition(": ")[2] for name in figures if name.startswith("gallery, 1e+09: ")]
    rows = [[each, *(_amount(figures[f"gallery, {label}: {each}"]) for label in labels)] for each in operations]
    hours = [figures.get(f"re-embedding of {label} photos") for label in FAR]
    photo = _amount(figures["a photo in the models"])
    rows += [[f"re-embedding, at {photo} a photo", "", *(f"{each['value']:,.0f} core-hours" for each in hours if each)]]
    head = [f"{FAR[label]}, extrapolated" if label in FAR else f"{label}, measured" for label in labels]
    return _markdown(["a gallery in SQLite", *head], rows)


def law_table(figures: Figures, facts: dict[str, str]) -> str:
    """What was fitted to the sizes measured, and by how much it misses the worst of them."""
    engines = dict.fromkeys(name.partition(",")[0] for name in figures if name.endswith(": nodes"))
    rows = [
        [engine, _sizes(figures, engine), *(facts[f"{engine}: {what}"] for what in ("search", "add 16", "remove 4"))]
        for engine in engines
    ]
    return _markdown(["index", "measured at", "search", "add 16", "remove 4"], rows)


def _sizes(figures: Figures, name: str) -> str:
    starts = dict.fromkeys(
        each.removeprefix(f"{name}, ").partition(":")[0] for each in figures if each.startswith(f"{name}, ")
    )
    measured = [each for each in starts if each not in FAR]
    return f"{measured[0]} to {measured[-1]}"


def _labels(figures: Figures, name: str) -> list[str]:
    """The largest size that was measured, and those beyond it."""
    sizes = {each.removeprefix(f"{name}, ").partition(":")[0] for each in figures if each.startswith(f"{name}, ")}
    measured = max(sizes - set(FAR), key=lambda size: int(size.replace(",", "")))
    return [measured, *(label for label in FAR if label in sizes)]


def _row(figures: Figures, engine: str, label: str) -> list[str]:
    start = f"{engine}, {label}"
    removal = figures[f"{start}: remove 4"]
    # A server that waits uses no processor time: what it takes by the clock is what counts then.
    removal = max(removal, figures.get(f"{start}: remove 4, quickest by the clock", removal), key=_value)
    costs = [_amount(each) for each in (figures[f"{start}: search"], figures[f"{start}: add 16"], removal)]
    costs.append(_amount(figures[f"{start}: memory"]))
    nodes = figures.get(f"{start}: nodes")
    if nodes is None:
        return [engine, label, *costs, "1", "", "measured"]
    if nodes["unit"] == "which it cannot use":
        return [engine, FAR[label], *costs, f"({nodes['value']:.0f})", "", "extrapolated"]
    searches = figures[f"{start}: searches a node"]["value"]
    return [
        engine,
        FAR[label],
        *costs,
        f"{nodes['value']:.0f}",
        f"{searches:,.0f}" if searches >= 10 else f"{searches:.1f}",
        "extrapolated",
    ]


def _value(figure: dict[str, Any]) -> float:
    return float(figure["value"])


def _amount(figure: dict[str, Any]) -> str:
    """In the unit that suits it."""
    value, unit = _value(figure), str(figure["unit"]).partition(",")[0]
    steps = {"ms": (("h", 3.6e6), ("s", 1e3)), "MB": (("TB", 1e6), ("GB", 1e3))}
    for larger, factor in steps[unit]:
        if value >= factor:
            value, unit = value / factor, larger
            break
    return f"{value:,.0f} {unit}" if value >= 100 else f"{value:.2g} {unit}"


def _markdown(head: list[str], rows: list[list[str]]) -> str:
    return "\n".join(f"| {' | '.join(line)} |" for line in [head, ["---"] * len(head), *rows])
