import os

# gRPC writes its own lines to standard error, bypassing the log, and any caller can trigger them without limit: one
# for each compressed call, for instance. To see them, set GRPC_VERBOSITY. gRPC reads it at startup.
os.environ.setdefault("GRPC_VERBOSITY", "NONE")
