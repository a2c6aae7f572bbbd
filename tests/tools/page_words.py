"""Words as the pages take them from what a reader types, for tests of the pages."""

import re
import unicodedata


def split_words(text: str) -> list[str]:
    """Return what a reader types as words: lower case, without punctuation."""
    text = text.lower()
    marks = "".join({c for c in text if unicodedata.category(c)[0] == "M"})  # \w holds none
    letter = rf"(?:[^\W_]|[{marks}])" if marks else r"[^\W_]"
    return re.findall(rf"{letter}+(?:['\u2019-]{letter}+)*", text)
