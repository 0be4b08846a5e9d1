"""``python -m mrpy``: the same as the command ``mrpy``."""

from mrpy.cli import main

if __name__ == "__main__":
    main()
