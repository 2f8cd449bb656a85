"""`python -m applications.nas` is `mlo-nas`."""

import sys

from applications.nas.cli import main

sys.exit(main())
