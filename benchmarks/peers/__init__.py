"""What one would write first, to compare with."""
