"""What one would write first, and what others write, to be measured beside ours."""
