"""HTTP towards providers."""
