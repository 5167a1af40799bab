"""Search backends: `VectorIndex` says what one must do, one file per backend, `snapshot` keeps one on disk."""
