"""The RAG service: documents in, ranked passages and grounded answers out (`python -m kaito.rag`).

**One writer, many readers.** An index has one writer task. It takes what has been prepared (split, embedded) since its
last turn, puts it on disk with one fsync, applies it and publishes a new `Generation`: an immutable value that readers
pick up with one attribute read and keep for as long as they like. Nobody holds a lock while a model computes.

**Rows have numbers.** Every passage (node) gets a number that only grows and is never used twice. Segments are
immutable and ordered by number; a deletion flips a bit in a copied mask; adjacent segments of like size are merged,
so that a query looks at O(log n) of them and an insertion costs O(log n) amortised. BM25 postings and metadata are
columns of the same segments, so nothing is rebuilt for a query.

**The log is the truth.** A record is on disk before its 200; a snapshot is the same records, compacted. Vectors are in
the records, so a restart embeds nothing.
"""
