"""``python -m fedsiege.cli`` is ``fedsiege``."""

import sys

from fedsiege.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
