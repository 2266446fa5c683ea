"""Text to the terms that BM25 counts: stems of words, and identifiers whole as well as in parts."""

from __future__ import annotations

import re
from functools import lru_cache
from threading import local

import Stemmer

# Snowball's English stop list, cut to function words that carry nothing in a question.
_FUNCTION_WORDS = """
    a about an and are as at be been but by can could did do does for from had has have he her him his how i if in
    into is it its may me my no nor not of on or our she should so than that the their them then there these they
    this those to too us was we were what when where which while who whom why will with would you your
"""
STOP_WORDS = frozenset(_FUNCTION_WORDS.split())
# A word, or words held together by the characters that hold identifiers, versions, paths and flags together.
COMPOUND = re.compile(r"\w+(?:[-./:@#+]+\w+)*", re.UNICODE)
WORD = re.compile(r"[^\W_]+", re.UNICODE)
HUMPS = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+|[^\WA-Za-z\d_]+")
# Scripts written without spaces are indexed by pairs of characters, as Lucene's CJK analyser does.
UNSPACED = re.compile(r"[\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\uac00-\ud7af\u0e00-\u0e7f]+")
ANALYSIS = 1  # one more with every change of what `terms` returns: snapshots hold terms
EXACT = "="  # marks an identifier as a whole; no word begins with it
TERM_CHARACTERS_MAX = 128
_thread = local()


def _stem(word: str) -> str:
    stemmer = getattr(_thread, "stemmer", None)  # a Stemmer is not safe to share between threads
    if stemmer is None:
        stemmer = _thread.stemmer = Stemmer.Stemmer("english")
    return str(stemmer.stemWord(word))


def _is_identifier(compound: str) -> bool:
    """Whether this reads as a name from code, a version, a path or a number rather than as a word of prose."""
    if not compound.isalpha():
        return not compound.isdigit() or len(compound) > 2
    return compound.lower() != compound and not compound.istitle()


@lru_cache(maxsize=1 << 16)
def _terms_of(compound: str) -> tuple[str, ...]:
    terms: list[str] = []
    if _is_identifier(compound):
        terms.append(EXACT + compound.casefold()[:TERM_CHARACTERS_MAX])
    for word in WORD.findall(compound):
        if UNSPACED.search(word):
            terms.extend(_pairs(word))
            continue
        lower = word.casefold()[:TERM_CHARACTERS_MAX]
        if lower in STOP_WORDS:
            continue
        terms.append(_stem(lower))
        humps = HUMPS.findall(word)
        if len(humps) > 1:
            terms.extend(_stem(hump.casefold()) for hump in humps if hump.casefold() not in STOP_WORDS)
    return tuple(terms)


def _pairs(word: str) -> list[str]:
    return [word] if len(word) < 2 else [word[at : at + 2] for at in range(len(word) - 1)]


def terms(text: str) -> list[str]:
    """Every occurrence of every term, in order."""
    found: list[str] = []
    for compound in COMPOUND.findall(text):
        found.extend(_terms_of(compound))
    return found


def identifiers(text: str) -> list[str]:
    """The terms of `text` that stand for whole identifiers, each once."""
    return list(dict.fromkeys(term for term in terms(text) if term.startswith(EXACT)))
