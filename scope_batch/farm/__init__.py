"""Renders many jobs on several devices, and keeps a ledger of what ran where."""
