"""Speed and memory beside a floor or a peer: ``python -m benchmarks``. See README.md here."""
