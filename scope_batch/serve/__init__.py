"""Serves renders over HTTP, in the protocol of Scope's batch endpoint."""
