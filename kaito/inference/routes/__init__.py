"""The paths, one family a file. Each family is a function that adds its handlers to the table."""
