"""`python -m specdata`, where the command is not on the path."""

from specdata.cli import main

main()
