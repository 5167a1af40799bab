"""Indexes: which of the stored vectors are nearest. `base` has the interface, each index a file of its own."""
