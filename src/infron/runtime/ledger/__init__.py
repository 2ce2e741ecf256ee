"""Where each exchange is recorded exactly once."""
