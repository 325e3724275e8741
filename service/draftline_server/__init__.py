"""The Draftline service."""

import os

# grpc's core reads this when it is loaded. Otherwise it writes to standard error itself and blocks on its reader.
# Exceptions report the problems of ports and calls as well.
os.environ.setdefault("GRPC_VERBOSITY", "NONE")
