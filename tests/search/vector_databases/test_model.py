"""The whole gallery against a plain dict, as in `tests.store.test_model`, with its vectors in engines."""

from __future__ import annotations

from contextlib import ExitStack

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule, run_state_machine_as_test

from facesearch.index.services import VectorDatabaseKind, VectorServer
from facesearch.search.gallery import Gallery
from facesearch.store.location import Location, parse_location
from facesearch.types import Fusion
from tests.servers import new_database
from tests.store.makers import MODEL
from tests.store.test_model import GalleryMachine

EXAMPLES = {VectorDatabaseKind.PGVECTOR: (1, 60), VectorDatabaseKind.MILVUS: (1, 15)}
"""In the ordinary run and in the soak."""


class MovedMachine(GalleryMachine):
    kind: VectorDatabaseKind
    server: str
    """The URL of PostgreSQL, or the address of Milvus."""

    def make(self) -> Gallery:
        self.stack = ExitStack()
        self.location: Location = self.folder
        self.servers = {VectorDatabaseKind.MILVUS: VectorServer(self.server)}
        if self.kind is VectorDatabaseKind.PGVECTOR:
            self.location = parse_location(self.stack.enter_context(new_database(self.server)), self.folder)
        gallery = Gallery.open(self.location, create=True, servers=self.servers, fusion=Fusion.MAX)
        gallery.adopt(MODEL)
        gallery.move_index(self.kind)
        return gallery

    def open(self) -> Gallery:
        gallery = Gallery.open(self.location, servers=self.servers, fusion=Fusion.MAX)
        gallery.adopt(MODEL)
        return gallery

    def teardown(self) -> None:
        super().teardown()
        self.stack.close()

    @rule(second=st.booleans(), own=st.booleans())
    def move_vectors(self, second: bool, own: bool) -> None:
        self._by(second).move_index(None if own else self.kind)

    @rule(second=st.booleans())
    def tell(self, second: bool) -> None:
        self._by(second).vector_databases.catch_up()


@pytest.mark.parametrize("kind", VectorDatabaseKind)
def test_a_gallery_in_a_vector_database_answers_as_a_dict_does(
    kind: VectorDatabaseKind, request: pytest.FixtureRequest
) -> None:
    run(kind, request, EXAMPLES[kind][0])


@pytest.mark.soak
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("kind", VectorDatabaseKind)
def test_a_gallery_in_a_vector_database_answers_as_a_dict_does_at_length(
    kind: VectorDatabaseKind, request: pytest.FixtureRequest
) -> None:
    run(kind, request, EXAMPLES[kind][1])


def run(kind: VectorDatabaseKind, request: pytest.FixtureRequest, examples: int) -> None:
    server = request.getfixturevalue(str(kind))
    machine: type[RuleBasedStateMachine] = type("Machine", (MovedMachine,), {"kind": kind, "server": server})
    checks = [HealthCheck.too_slow, HealthCheck.data_too_large]
    run_state_machine_as_test(
        machine,
        settings=settings(max_examples=examples, stateful_step_count=15, deadline=None, suppress_health_check=checks),
    )
