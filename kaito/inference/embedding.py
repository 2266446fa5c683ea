"""The seam below `/v1/embeddings`: token ids in, vectors out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, TypeAlias

from kaito.inference.generation import LoadedModel

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Vectors: TypeAlias = NDArray[np.float32]  # [inputs, dimensions]


class Embedder(LoadedModel, Protocol):
    """One model that makes a vector of a text."""

    @property
    def dimensions(self) -> int:
        """The width of its vectors."""

    @property
    def shorter(self) -> frozenset[int] | None:
        """The widths that they may be cut to (Matryoshka); None: any. Empty: none."""

    @property
    def is_normalized(self) -> bool:
        """Whether vectors have length 1: then shortened ones get it again."""

    async def tokens(self, texts: list[str], *, add_special_tokens: bool, keep: int | None) -> list[list[int]]:
        """Each text's token ids; `keep`: at most so many, the beginning, special tokens included."""

    async def embed(self, inputs: list[list[int]]) -> Vectors:
        """A vector for each. Raises ApiError. Cancelling it takes what has not begun off the queue."""
