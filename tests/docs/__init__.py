"""The README, the pages of the documentation, and the examples."""
