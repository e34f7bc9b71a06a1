"""`python -m kumiai`: the command line where no script is installed."""

import sys

from kumiai.apps.cli.entry import main

sys.exit(main())
