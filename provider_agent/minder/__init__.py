"""The minder: one small process per attempt that owns its process tree, its log spool and its end.

`orders` is what lies on disk, `control` is what the agent calls; `process` and what it imports run as the minder.
Keep this file empty of imports: the minder passes through it in its first milliseconds.
"""
