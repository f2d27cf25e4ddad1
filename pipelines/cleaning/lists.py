"""Lists that a recipe names by file: one entry a line, UTF-8; blank lines and those that begin with ``#``
are left out."""

from __future__ import annotations

from gristmill import storage
from gristmill.errors import RecipeError


def read_list(path: str) -> list[str]:
    """The entries of a list, white space at their ends put aside; RecipeError where there is no such text
    file."""
    try:
        text = storage.read_bytes(path).decode("utf-8")
    except UnicodeDecodeError as error:
        raise RecipeError(f"{path}: not UTF-8 text") from error
    except Exception as error:
        raise RecipeError(f"{path}: cannot be read: {error}") from error
    lines = (line.strip() for line in text.removeprefix("\ufeff").splitlines())
    entries = [line for line in lines if line and not line.startswith("#")]
    if not entries:
        raise RecipeError(f"{path}: the list is empty")
    return entries
