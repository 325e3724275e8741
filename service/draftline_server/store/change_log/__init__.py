"""The change log: pages of it, and the log as a feed."""
