"""What the README and the pages say is so: commands, options, values, variables, endpoints, files and outputs."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from facesearch import FaceSearch
from facesearch.client import Client
from facesearch.server.app import create_app
from tests.docs.pages import ROOT, RUN, blocks, endpoints_named, faults, pages
from tests.docs.running import Playground, agree, normal

PAGES = pages()
RUNNABLE = [page for page in PAGES if RUN in page.read_text(encoding="utf-8")]
ENROLLS = "enroll people/ --pack standin"
"""A page that runs this begins without a gallery; any other has the demo's in `data`."""


def name(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_a_page_names_only_what_exists(page: Path) -> None:
    assert faults(page.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("facesearch querry photo.jpg", "querry"),
        ("facesearch query", "photos is missing"),
        ("facesearch query photo.jpg --annotated who.jpg", "--annotated"),
        ("facesearch query photo.jpg --det-size quick", "quick"),
        ("facesearch reindex --index hnsw", "hnsw"),
        ("facesearch people rename Ada", "missing"),
        ("facesearch people rename A B C", "too many"),
        ("facesearch people promote Ada", "promote"),
        ("facesearch eval pairs.txt --frr 1", "--frr"),
        ("A=1 facesearch enroll people/ && facesearch chekc", "chekc"),
        ("facesearch --key-fil k info", "--key-fil"),
        ("facesearch people list | facesearch keys lsit", "lsit"),
        ("poe chekc", "chekc"),
        ("python -m benchmarks serach", "serach"),
        ("pip install 'facesearch[heif]'", "heif"),
    ],
)
def test_a_false_line_of_a_block_is_found(line: str, why: str) -> None:
    (found,) = faults(f"# Page\n\n```console\n$ {line}\n```\n")
    assert why in found


@pytest.mark.parametrize(
    "span",
    [
        "--annotated",
        "query --anotate",
        "--det-size quick",
        "people promote",
        "facesearch chekc",
        "FACESEARCH_GALERY",
        "facesearch/no_such_file.py",
        "gallery.ballast",
        "pip install 'facesearch[heif]'",
    ],
)
def test_a_false_word_of_the_text_is_found(span: str) -> None:
    assert len(faults(f"# Page\n\nUse `{span}` then.\n")) == 1


@pytest.mark.parametrize(
    "line",
    [
        "facesearch eval pairs.txt --photos lfw --far 1e-1,1e-2",
        'facesearch enroll a.jpg b.jpg --as "Ada Lovelace" --det-size fast  # a comment',
        "facesearch -v --key-file k query photo.jpg | head",
        "FACESEARCH_GALLERY=x facesearch reindex --index pgvector > log",
    ],
)
def test_a_true_line_is_no_fault(line: str) -> None:
    assert faults(f"```console\n$ {line}\n```\n") == []


def test_every_link_of_a_page_outside_the_site_leads_to_a_file() -> None:
    outside = [page for page in PAGES if page.parent == ROOT]
    dead = [
        f"{page.name}: {target}"
        for page in outside
        for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8"))
        if not (page.parent / target).exists()
    ]
    assert dead == []


def test_the_readme_has_at_most_250_lines() -> None:
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= 250


@pytest.fixture(scope="module")
def described(enrolled_folder: Path, standin_pack: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What the server's `/v1/openapi.json` says of its paths."""
    gallery = shutil.copytree(enrolled_folder, tmp_path_factory.mktemp("routes") / "gallery")
    with FaceSearch.open(gallery, pack=standin_pack, provider="cpu") as engine:
        paths: dict[str, Any] = create_app(engine).openapi()["paths"]
        return paths


@pytest.fixture(scope="module")
def routes(described: dict[str, Any]) -> set[tuple[str, str]]:
    """Method and path of every endpoint."""
    return {(method.upper(), path) for path, methods in described.items() for method in methods}


def unknown_endpoints(text: str, routes: set[tuple[str, str]]) -> set[tuple[str, str]]:
    """Return the endpoints that a page names and the server does not have."""

    def exists(method: str, path: str) -> bool:
        plain = re.sub(r"\{\w+\}", "1", path)
        return any(
            method == other and re.fullmatch(re.sub(r"\{\w+\}", "[^/]+", pattern), plain) for other, pattern in routes
        )

    named = endpoints_named(text) - {("GET", "/v1/openapi.json")}
    return {(method, path) for method, path in named if not exists(method, path)}


def test_every_endpoint_that_a_page_names_exists(routes: set[tuple[str, str]]) -> None:
    text = "\n\n".join(page.read_text(encoding="utf-8") for page in PAGES)
    assert len(endpoints_named(text)) > 20
    assert unknown_endpoints(text, routes) == set()


def test_every_endpoint_stands_in_the_page_of_the_server(routes: set[tuple[str, str]]) -> None:
    text = (ROOT / "docs" / "server.md").read_text(encoding="utf-8")
    plain = {(method, re.sub(r"\{\w+\}", "{}", path)) for method, path in endpoints_named(text)}
    assert {each for each in routes if (each[0], re.sub(r"\{\w+\}", "{}", each[1])) not in plain} == set()


@pytest.mark.parametrize(
    "text",
    [
        "`PUT /v1/info` and more",
        "`GET /v1/persons`",
        "```console\n$ curl -X PATCH $A/subjects/1/merge\n```\n",
        "```console\n$ curl -F a=@a.jpg $A/verfiy\n```\n",
    ],
)
def test_a_false_endpoint_is_found(text: str, routes: set[tuple[str, str]]) -> None:
    assert len(unknown_endpoints(text, routes)) == 1


def test_every_parameter_of_a_query_exists(described: dict[str, Any]) -> None:
    known = {
        parameter["name"]
        for methods in described.values()
        for operation in methods.values()
        for parameter in operation.get("parameters", [])
    }
    text = "\n".join(page.read_text(encoding="utf-8") for page in PAGES)
    queries = re.findall(r"(?:\$A|/v1)/[\w/]+\?([\w=&%.]+)", text)
    assert len(queries) > 3
    named = {re.split("=", pair)[0] for query in queries for pair in query.split("&")}
    assert named - known == set()


def test_the_page_on_python_names_only_what_classes_have() -> None:
    text = (ROOT / "docs" / "python.md").read_text(encoding="utf-8")
    shared, alone = text.split("`FaceSearch` alone has")
    table = shared[shared.index("| operation |") :]
    operations = (
        set(re.findall(r"`(\w+)(?:\(|`)", table)) - set(re.findall(r"`([A-Z]\w+)`", table)) - {"score", "is_match"}
    )
    assert len(operations) > 20
    assert {each for each in operations if not (hasattr(FaceSearch, each) and hasattr(Client, each))} == set()
    everything = set(re.findall(r"`(\w+)\(", alone))
    assert {each for each in everything if not (hasattr(FaceSearch, each) or hasattr(Client, each))} == set()


@pytest.fixture(scope="session")
def kept_demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `facesearch demo --keep` keeps, at the place where pages run."""
    folder = tmp_path_factory.mktemp("docs") / "playground"
    subprocess.run(
        [sys.executable, "-m", "facesearch", "demo", "--keep", folder], cwd=ROOT, check=True, stdout=subprocess.DEVNULL
    )
    (folder / "gallery").rename(folder / "data")
    shutil.copytree(folder, folder.with_name("unused"))
    return folder


@pytest.fixture
def playground(kept_demo: Path) -> Playground:
    """The demo's folder as it was, always at the same place: galleries know the paths of their photos."""
    shutil.rmtree(kept_demo)
    shutil.copytree(kept_demo.with_name("unused"), kept_demo)
    return Playground(kept_demo)


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("bash") is None, reason="the blocks of the pages are written for bash")
@pytest.mark.parametrize("page", RUNNABLE, ids=name)
def test_the_runnable_blocks_of_a_page_print_what_it_says(page: Path, playground: Playground) -> None:
    marked = [block for block in blocks(page.read_text(encoding="utf-8")) if block.runs]
    if any(ENROLLS in block.text for block in marked):
        shutil.rmtree(playground.folder / "data")
    differences = [each for block in marked for each in playground.run(block)]
    if differences:
        pytest.fail("\n\n".join(differences), pytrace=False)


def test_a_block_that_prints_something_else_is_found(playground: Playground) -> None:
    (block,) = blocks(f"{RUN}\n```console\n$ echo 48 enrolled\n47 enrolled\n```\n")
    assert len(playground.run(block)) == 1
    (broken,) = blocks(f"{RUN}\n```python\nimport facesearch.no_such_module\n```\n")
    assert len(playground.run(broken)) == 1


def test_outputs_agree_but_for_times_widths_and_the_last_digits() -> None:
    assert agree(
        normal("a ──── 2026-11-28T07:07:24+00:00  score 0.973"), normal("a ─ 2025-01-01T00:00:00+00:00 score 0.974")
    )
    assert not agree(normal("score 0.973"), normal("score 0.943"))
    assert not agree(normal("47 photos"), normal("48 photos"))
    assert not agree(normal("Mira Quill"), normal("Mira Aster"))


def test_every_variable_of_the_code_stands_in_the_reference() -> None:
    code = "\n".join(path.read_text(encoding="utf-8") for path in (ROOT / "facesearch").rglob("*.py"))
    reference = (ROOT / "docs" / "reference" / "settings.md").read_text(encoding="utf-8")
    variables = set(re.findall(r'"(FACESEARCH_[A-Z]+(?:_[A-Z]+)*)"', code))
    assert len(variables) > 5
    assert {variable for variable in variables if variable not in reference} == set()


def test_the_generated_parts_of_the_pages_are_up_to_date() -> None:
    written = [page for page in PAGES if "[[[cog" in page.read_text(encoding="utf-8")]
    assert len(written) >= 3
    done = subprocess.run(
        [sys.executable, "-m", "cogapp", "--check", *written],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": os.fspath(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, ""), f"{done.stdout}Run: poe docs-write"
