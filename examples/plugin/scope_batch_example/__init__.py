"""A pipeline (`bars`) and a processor (`trails`) for scope-batch."""
