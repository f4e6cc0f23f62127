"""``python -m jax_stepcache``: the command ``jax-stepcache``."""

import sys

from jax_stepcache.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
