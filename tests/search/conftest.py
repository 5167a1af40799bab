"""Galleries for the tests, as those of the store have them."""

from tests.store.conftest import comparisons, folder, gallery, place, pytest_generate_tests, second

__all__ = ["comparisons", "folder", "gallery", "place", "pytest_generate_tests", "second"]
