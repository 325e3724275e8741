"""The merged list: its statement, its order and its pages."""
