"""Cleaning: pure functions on batches of texts. No Beam here.

==================  ========================================================================
``normalize``       repair of encoding faults (ftfy), NFC, control characters, white space at line ends
``extraction``      HTML bytes → main text and title
``words``           how text is cut into words
``punctuation``     which characters count as punctuation
``analysis``        one analysis of a batch that every rule reads: words and their features as flat arrays
``rules``           what a rule is: scores, bounds, and the reasons recorded for a document
``language``        rule: language and how sure the model is
``length``          rule: characters
``gopher_quality``  rule: Gopher's quality heuristics
``gopher_repetition``  rule: Gopher's repetition heuristics (its compiled kernel is ``repeated_words``)
``registry``        the rules by name, made from a recipe's options
``ruleset``         the rules of one recipe applied to a batch, with the reasons and histograms for the report
==================  ========================================================================

A new rule is a module with a config and a class as in ``length``, and one entry in ``registry``.
"""
