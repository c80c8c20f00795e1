"""Model files: which ones a pipeline needs, where they are, what their keys mean."""
