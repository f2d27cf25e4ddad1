"""What every stage shares: recipe, manifest, storage, keyed randomness, shards, objectives, report, command line."""

__version__ = "0.1.0"
