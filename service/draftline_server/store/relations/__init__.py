"""Related records: the relations of collections, and the records to which they lead."""
