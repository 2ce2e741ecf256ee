"""One client request and all that is done for it until it is settled."""
