"""Resources over HTTP that are no exchanges, a file each."""
