"""What every table of a recipe is made of, and the words an error line ends with."""

from __future__ import annotations

import difflib
import typing
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
)

Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]*$", max_length=64)]
Fraction = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[int, Field(gt=0)]
#: How text is cut into words for the cleaning rules.
WordMode = Literal["unicode", "whitespace", "spacy"]


class Section(BaseModel):
    """A table of the recipe: no unknown keys, no silent conversions, not changed after reading."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


def off_is_none(value: Any) -> Any:
    """TOML has no null: ``"off"`` stands for it where a key may be without a value."""
    return None if value == "off" else value


#: A text that may be switched off.
OptionalText = Annotated[str | None, BeforeValidator(off_is_none)]


def suggestion(word: str, known: typing.Iterable[str]) -> str:
    """``; did you mean 'x'?`` or the list of what there is, to end an error line with."""
    names = list(known)
    close = difflib.get_close_matches(word, names, n=1, cutoff=0.6)
    if close:
        return f"; did you mean {close[0]!r}?"
    return f"; there is {', '.join(map(repr, names))}" if names else "; there is none"
