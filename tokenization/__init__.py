"""Vocabularies: learn from word counts, load, encode, judge. No Beam here."""
