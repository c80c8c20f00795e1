"""Adds a pipeline (`bars`) and a processor (`trails`) to scope-batch."""
