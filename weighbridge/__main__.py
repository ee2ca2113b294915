"""`python -m weighbridge` and the console script: the command line of `weighbridge.cli`."""

from weighbridge.cli import main

if __name__ == "__main__":
    main()
