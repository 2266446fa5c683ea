"""What is: the in-memory world. Pure, synchronous, one writer; events go in, dirtied roots come out."""
