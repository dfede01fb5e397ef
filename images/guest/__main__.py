"""python3 -m images.guest OUT: build the demo guest's disk into the folder OUT."""

import sys
from pathlib import Path

from .build import BuildFailed, build

if len(sys.argv) != 2:
    sys.exit(__doc__)
try:
    print(build(Path(sys.argv[1]), Path(".local/cache/images/guest")))
except BuildFailed as error:
    sys.exit(str(error))
