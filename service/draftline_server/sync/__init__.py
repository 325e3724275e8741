"""Workers of syncs: push what is due to systems of record, and pull what changed there."""
