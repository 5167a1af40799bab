"""Searching a gallery: an index kept equal to the store, and hits turned into decisions about people."""
