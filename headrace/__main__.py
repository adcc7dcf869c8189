"""`headrace` and `python -m headrace`: the console script."""

import sys


def main() -> None:
    """Runs the command line; Ctrl-C ends it quietly, however early it comes."""
    try:
        from headrace.cli import main as run

        run()
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
