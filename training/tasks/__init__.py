"""Labelled tasks: each is a loader, an encoding, and batches; the model's head and the metrics follow from
it."""
