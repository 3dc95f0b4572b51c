"""The one error that means: the input is wrong, and here is how to mend it."""


class SpecdataError(ValueError):
    """Bad input, told in one sentence: what is wrong, which value, how to mend it.

    The command line prints the sentence and exits with code 2; library users can catch it as a `ValueError`.
    """
