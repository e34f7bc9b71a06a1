"""`python -m kumiai`: the command line where no script is installed."""

from kumiai.apps.cli.entry import main

main()
