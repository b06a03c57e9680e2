"""The queue, pure: whose turn it is while requests compete, and for whom places are held."""
