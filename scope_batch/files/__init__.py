"""Files on disk, read without torch: access with clear errors, kinds by content, numbered pictures, headers."""
