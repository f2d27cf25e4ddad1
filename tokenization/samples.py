"""Short texts that show what a vocabulary does: for reports, and to compare two ways of encoding."""

SAMPLE_TEXTS = (
    "The quick brown fox jumps over the lazy dog.",
    "She hadn't expected the 1,234 unread e-mails, but there they were!",
    "Antidisestablishmentarianism is hardly ever tokenised in one piece.",
    "def tokenize(text: str) -> list[int]:\n    return encoder.encode(text)",
    "La façade du château était éclairée; naïve, elle s’arrêta.",
    "Русский текст, 中文文本, 日本語のテキスト and ﬁne “quotes”…",
)
