"""What every stage shares: recipes, manifests, storage, keyed randomness, shards, objectives, reports, the command line."""

__version__ = "0.1.0"
