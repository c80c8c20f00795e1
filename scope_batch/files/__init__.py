"""Files on disk, read without torch: access with clear errors, kinds told by content, numbered pictures, headers."""
