"""Keeps what a render has made in a work folder, so that the next run of the same job continues from it."""
