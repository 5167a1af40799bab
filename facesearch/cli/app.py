"""The command tree. Command modules import the engine inside their functions, so that `--help` stays fast."""

from __future__ import annotations

from facesearch.cli import (
    audit,
    calibrate,
    demo,
    enroll,
    evaluate,
    galleries,
    history,
    keys,
    models,
    people,
    query,
    reembed,
    serve,
)
from facesearch.cli.root import new_app

app = new_app(enroll, query, serve, keys, people, history, galleries, models, reembed, evaluate, calibrate, audit, demo)
