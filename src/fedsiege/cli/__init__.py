"""The words of the command line, one file per command; heavy packages are imported inside the commands."""
