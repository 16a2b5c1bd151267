"""``python -m xaynet_sdk``: the same as the command ``xaynet``."""

import sys

from xaynet_sdk.cli import main

if __name__ == "__main__":
    sys.exit(main())
