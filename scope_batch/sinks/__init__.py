"""Outputs of frames: video, NPY, NUT, PNG, standard output. Files get their names when they are verified."""
