"""The error that means "the input is wrong, and here is how to mend it", and other errors told in one line."""


class SpecdataError(ValueError):
    """Bad input, told in one sentence: what is wrong, which value, how to mend it.

    The command line prints the sentence and exits with code 2; library users can catch it as a `ValueError`.
    """


def one_line(error) -> str:
    """Text of another library's exception, in one line of at most 300 characters.

    An exception of the operating system gives its reason without the file name, for our sentences name the file
    themselves; an exception without any text gives the name of its class.
    """
    text = getattr(error, "strerror", None) or str(error)
    return " ".join(text.split())[:300] or type(error).__name__
