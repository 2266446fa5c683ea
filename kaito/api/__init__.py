"""Nouns: the Kubernetes wire types that the operator reads and writes. Pure, no I/O."""
