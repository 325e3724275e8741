"""The checks of `draftline doctor`."""
