"""The resources of the API, one file each: what is told over HTTP beside the streams."""
