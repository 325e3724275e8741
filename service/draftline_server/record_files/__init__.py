"""Files of records as `draftline import` reads them."""
