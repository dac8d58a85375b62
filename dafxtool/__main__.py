"""python -m dafxtool: the same as the command dafxtool."""

from dafxtool.cli import main

if __name__ == "__main__":
    main()
