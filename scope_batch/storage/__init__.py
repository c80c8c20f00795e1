"""Reads and writes shared storage (`s3://`, `gs://`, `hf://`) through fsspec. Imports it on first use only."""
