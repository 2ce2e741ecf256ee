"""Several processes as one gateway, and what one process needs for it."""
