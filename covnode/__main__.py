"""Entry of ``python -m covnode`` and of the command ``covnode``."""

from covnode.cli.app import main

if __name__ == "__main__":
    main()
