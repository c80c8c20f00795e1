"""Writes frames to video, NPY, NUT and PNG files and to standard output; files are verified, then published."""
