"""Shows a plan: as a table for terminals, as JSON, and as text."""
