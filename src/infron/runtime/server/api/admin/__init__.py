"""The admin API: what an operator does with keys, organisations, credits and streams over HTTP."""
