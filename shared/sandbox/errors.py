"""What goes wrong with a sandbox, apart from what goes wrong in it."""


class SandboxUnavailableError(RuntimeError):
    """The wanted sandbox cannot be used here, or its start failed; the message says why and what to do.

    Never a verdict on a file: whoever judges files must let it pass.
    """
