"""Credentials that change: signed requests and fetched tokens."""
