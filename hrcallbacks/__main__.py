"""`python -m hrcallbacks`: a look at a recording from the shell."""

import sys

from hrcallbacks.cli.parser import main

if __name__ == "__main__":
    sys.exit(main())
