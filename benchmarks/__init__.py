"""What is measured, against whom: one command each, the peer in the same run, one JSON line last."""
