"""The walk through every call that `draftline demo` shows."""
