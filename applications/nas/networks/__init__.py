"""Networks: the supernet of a search, final networks of a cell, and those made by hand."""
