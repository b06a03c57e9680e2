"""The pool: a provider's own Ray cluster, which keeps the books of its nodes and starts minders, and runs nothing else.

`cluster.Pool` is what the agent uses; only `child` and `runner`, in processes of their own, import ray.
"""
