"""What can go wrong with a server from a wheel, in words for the person who started it."""


class EmbeddedServerError(RuntimeError):
    """An embedded server cannot be prepared or does not start; the text says which, why, and how to mend it."""
