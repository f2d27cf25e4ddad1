"""Show tokens as text: spaces are marked, byte-level tokens turned back into characters."""

from __future__ import annotations

from dataclasses import dataclass

#: Number of background colours that neighbouring tokens take in turn.
TONES = 5
#: Shown for a space inside a token: light, and in every font.
SPACE_MARK = "\u00b7"


def _byte_level_alphabet() -> dict[str, int]:
    """The inverse of GPT-2's ``bytes_to_unicode`` (``gpt-2/src/encoder.py``): visible character to byte.

    Printable Latin-1 bytes stand for themselves, the other 68 for U+0100 onwards in byte order.
    """
    visible = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    hidden = [byte for byte in range(256) if byte not in set(visible)]
    return {**{chr(b): b for b in visible}, **{chr(256 + k): b for k, b in enumerate(hidden)}}


_BYTE_OF = _byte_level_alphabet()


@dataclass(frozen=True)
class ShownToken:
    """A token as it stands in the vocabulary (``raw``), the text to show, and which background it takes."""

    raw: str
    text: str
    tone: int


def readable(token: str, kind: str | None) -> str:
    """The text to show for a token of a vocabulary of this kind.

    SentencePiece's U+2581 becomes a middle dot. Byte-level tokens become the characters their bytes spell,
    bytes that are no whole character ``⟨E2⟩``; a token that is not made of byte-level characters (a special
    token, say) stays as it is.
    """
    if kind == "byte_level_bpe" and token and all(character in _BYTE_OF for character in token):
        data = bytes(_BYTE_OF[character] for character in token)
        text = data.decode("utf-8", errors="surrogateescape")
        text = "".join(f"⟨{ord(c) - 0xDC00:02X}⟩" if "\udc80" <= c <= "\udcff" else c for c in text)
        return text.replace(" ", SPACE_MARK).replace("\n", "⏎").replace("\t", "⇥")
    if kind and kind.startswith("sentencepiece"):
        return token.replace("\u2581", SPACE_MARK)
    return token


def shown(tokens: list[str], kind: str | None) -> list[ShownToken]:
    """Tokens of one text with their text and alternating backgrounds."""
    return [ShownToken(token, readable(token, kind), place % TONES) for place, token in enumerate(tokens)]
