"""What the command line's verbs do; only this package reaches every room, and imports each when it is needed."""
