"""What is on disk: a folder an index, a log of changes and snapshots, all of checksummed records."""
