"""`models: tiny`: a small checkpoint set in the published layout, made on first use."""
