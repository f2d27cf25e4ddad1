"""Apache Beam pipelines: corpora in; clean documents, word counts and shards out. Keys are shuffled, text is not."""
