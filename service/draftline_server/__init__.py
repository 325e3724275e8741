"""The service."""

import os

# Read by grpc's core when it is loaded. It would write to standard error itself, and wait for who reads that.
# What is wrong with a port or a call is told by exceptions too.
os.environ.setdefault("GRPC_VERBOSITY", "NONE")
