"""Where frames go: video, NPY, NUT, PNG, standard output; each written beside its name and renamed when verified."""
