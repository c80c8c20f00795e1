"""Renders a job on a server and writes its outputs here: packing, following, fetching."""
