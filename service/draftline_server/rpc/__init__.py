import os

# gRPC writes lines of its own to standard error, past the log, which anybody can provoke without end: one for each
# call that is compressed, for instance. To see them, set GRPC_VERBOSITY. It is read when gRPC starts.
os.environ.setdefault("GRPC_VERBOSITY", "NONE")
