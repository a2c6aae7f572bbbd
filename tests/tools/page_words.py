"""Words as the pages take them from what a reader types, for tests of the pages."""

import json
import re
import unicodedata
from pathlib import Path

# What is typed, and its words, for widgets that split them as here and as `dgm.data.text` does.
_FILE = Path(__file__).parents[1] / "dgm" / "data" / "words.json"
KNOWN_WORDS = json.loads(_FILE.read_text("utf-8"))


def number(text: str) -> float:
    """Return a number as a page writes it."""
    return float(text.replace("\N{MINUS SIGN}", "-").replace(",", ""))


def split_words(text: str) -> list[str]:
    """Return what a reader types as words: lower case, without punctuation."""
    text = text.lower()
    marks = "".join({c for c in text if unicodedata.category(c)[0] == "M"})  # \w holds none
    letter = rf"(?:[^\W_]|[{marks}])" if marks else r"[^\W_]"
    return re.findall(rf"{letter}+(?:['\u2019-]{letter}+)*", text)
