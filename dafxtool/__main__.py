"""Run the command line with `python -m dafxtool`."""

from dafxtool.cli import main

if __name__ == "__main__":
    main()
