"""Bad input for hours: recorded cases and requests, mutated at random, and the promises that must hold all the same.

`make fuzz` runs it for an hour (SECONDS=60 for a minute). The promises: only our own error is raised; nothing follows
the end; the same events come however the bytes are cut; what is held stays small; every event can be told to a client,
as frames and as one JSON; no error repeats the key. A broken one is written to a folder in as few bytes as still break
it, and `--replay FILE.json` tries it again. It is never a part of the normal run, which has a fixed few of its cases.
"""
