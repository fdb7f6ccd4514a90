"""Cuts a small data set out of an AnnData or 10x file, block by block."""
