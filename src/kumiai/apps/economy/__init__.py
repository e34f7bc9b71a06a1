"""`kumiai simulate`: the economy played out, its table, its page and its figures."""
