"""Duplicates from columns of keys: the text itself is never grouped.

=========  ===========================================================
module     finds
=========  ===========================================================
exact      documents whose folded text has one xxh3-128
minhash    documents that share a MinHash band
clusters   connected components of what both found, and the keeper
=========  ===========================================================
"""
