"""`python -m attncc`: the command line, where its script isn't on the path."""

from attncc.cli import main

if __name__ == "__main__":
    main()
