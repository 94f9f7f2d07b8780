"""What keeps functions from each other and from the host: a feature a file, and one that says which hold.

`launch` runs before an environment's interpreter exists, and imports what it needs from here without anything
else of ours or of others: `syscalls`, `landlock`, `families` and `limits` use the standard library alone.
"""
