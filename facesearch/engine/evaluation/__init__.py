"""Evaluation through the engine's own path: labelled photos in, reports, calibrated thresholds and audits out."""
