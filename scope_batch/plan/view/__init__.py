"""The plan for people and programs: a table for terminals, JSON, and text."""
