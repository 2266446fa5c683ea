"""`prompt` and `input`: a text, several texts, token ids, or several lists of them."""

from __future__ import annotations

from collections.abc import Sequence

from kaito.web.openai.errors import invalid


def texts_or_tokens(
    value: str | Sequence[str | int | list[int]], field: str, *, items_max: int, vocabulary_size: int
) -> list[str | list[int]]:
    """One entry an item, token ids checked. Raises ApiError (400) that names the field."""
    if isinstance(value, str):
        return [value]
    if not value:
        raise invalid(f"{field}: expected text, or a list that is not empty", param=field)
    if all(isinstance(item, int) for item in value):
        return [_checked([item for item in value if isinstance(item, int)], field, field, vocabulary_size)]
    if len(value) > items_max:
        raise invalid(f"{field}: {len(value)} items in one request, at most {items_max} are taken", param=field)
    found: list[str | list[int]] = []
    for index, item in enumerate(value):
        if isinstance(item, int):
            raise invalid(f"{field}: a list of texts, or of token ids, or of lists of them: not mixed", param=field)
        where = f"{field}[{index}]"
        found.append(item if isinstance(item, str) else _checked(list(item), where, field, vocabulary_size))
    return found


def _checked(tokens: list[int], where: str, field: str, vocabulary_size: int) -> list[int]:
    if not tokens:
        raise nothing(where, field)
    if any(not 0 <= token < vocabulary_size for token in tokens):
        wrong = next(token for token in tokens if not 0 <= token < vocabulary_size)
        message = f"{where}: {wrong} is not a token id of this model (0 to {vocabulary_size - 1})"
        raise invalid(message, param=field)
    return tokens


def nothing(where: str, field: str) -> Exception:
    """The error for an item without a single token."""
    return invalid(f"{where}: there are no tokens in it", param=field)
