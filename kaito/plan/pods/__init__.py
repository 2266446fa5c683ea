"""Pieces of pods that several workloads are made of; each says what one feature adds."""
