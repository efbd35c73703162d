"""Run the command line as `python -m edgekit.cli`."""

import os
import sys

import edgekit

# Python puts the working directory first, and would import a json.py that lies in it. What imports a user's own module
# looks there itself.
_ROOT = os.path.dirname(os.path.dirname(os.path.abspath(edgekit.__file__)))  # noqa: PTH100, PTH120
if not getattr(sys.flags, "safe_path", False) and sys.path[0] != _ROOT:
    del sys.path[0]

from edgekit.cli import main  # noqa: E402

main()
