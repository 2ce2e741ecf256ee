"""Each client API in front of each provider wire: what a provider says, a client of any API hears, and the other way.

It never says what bytes look like: voices (`infron.testing`) say it on the wires, `clients` read it in the APIs.
"""
