"""`python -m slowfast_hub` is the command `slowfast-hub`."""

from slowfast_hub.apps.cli import main

if __name__ == "__main__":
    main()
