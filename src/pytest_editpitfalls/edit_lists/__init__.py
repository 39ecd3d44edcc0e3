"""Lists of edits that somebody plans or has made: their forms, what in them clashes, and the cases around them."""
