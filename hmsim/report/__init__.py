"""Reports: what is in a directory of results or of a sweep, as one page to read."""
