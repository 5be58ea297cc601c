"""Text into tokens: words, numbers and object tags first, then the longest phrases of the lexicon.

Both passes are linear in the length of the text: the patterns have no nested repetition and a phrase has few words.
"""

import re
import unicodedata
from typing import Any, NamedTuple

from dima_pipeline.curation.grounding.lexicon import entries

_PIECE = re.compile(
    r"<c\d{1,4},cam_[a-z_]{1,12},-?\d{1,6}(?:\.\d{1,6})?,-?\d{1,6}(?:\.\d{1,6})?>"
    r"|\d+(?:\.\d+)?|[a-z]+(?:'[a-z]+)?|[^\sa-z\d]",
    re.ASCII,
)
_ENDS = frozenset(".;!?:\n")


class Token(NamedTuple):
    """A phrase with a meaning; ``word`` where it has none for us."""

    kind: str
    value: Any
    text: str


class Tag(NamedTuple):
    """DriveLM's name of an object: camera and pixel in an image of 1600 x 900."""

    camera: str
    u: float
    v: float


def sentences(text: str) -> tuple[tuple[Token, ...], ...]:
    """The tokens of every sentence of a text."""
    found: list[tuple[Token, ...]] = []
    pieces: list[str] = []
    for piece in [*_PIECE.findall(_plain(text)), "."]:
        if piece not in _ENDS:
            pieces.append(piece)
        elif pieces:
            found.append(tuple(_tokens(pieces)))
            pieces = []
    return tuple(found)


def _plain(text: str) -> str:
    """Lower case, ASCII digits for those of any script, and no hyphen inside words."""
    if not text.isascii():
        text = "".join(str(unicodedata.decimal(one)) if one.isdecimal() else one for one in text)
        text = text.replace("’", "'")
    return re.sub(r"(?<=[a-z])-(?=[a-z])", " ", text.lower().replace("\n", " . "))


def _tokens(pieces: list[str]) -> list[Token]:
    found = []
    at = 0
    while at < len(pieces):
        phrase = _PHRASES.longest(pieces, at)
        if phrase is not None:
            num, kind, value = phrase
            found.append(Token(kind, value, " ".join(pieces[at : at + num])))
            at += num
        else:
            found.append(_single(pieces[at]))
            at += 1
    return found


def _single(piece: str) -> Token:
    if piece[0] == "<" and len(piece) > 1:
        _, camera, u, v = piece[1:-1].split(",")
        return Token("tag", Tag(camera.upper(), float(u), float(v)), piece)
    # More digits than a number of a scene can have are no number.
    if piece[0] in "0123456789":
        return Token("number", float(piece), piece) if len(piece) <= 12 else Token("word", piece[:20], piece[:20])
    return Token("word", piece, piece)


class _Phrases(dict[str, list[tuple[tuple[str, ...], str, Any]]]):
    """Phrases by their first word, the longest first."""

    def __init__(self) -> None:
        super().__init__()
        known = set()
        for phrase, kind, value in entries():
            words = tuple(phrase.split())
            if words not in known:
                known.add(words)
                self.setdefault(words[0], []).append((words, kind, value))
        for group in self.values():
            group.sort(key=lambda entry: -len(entry[0]))

    def longest(self, pieces: list[str], at: int) -> tuple[int, str, Any] | None:
        """Number of pieces, kind and value of the longest phrase that begins at a piece."""
        for words, kind, value in self.get(pieces[at], ()):
            if pieces[at : at + len(words)] == list(words):
                return len(words), kind, value
        return None


_PHRASES = _Phrases()
