"""`parse`: reads the text of a field as what it is, and puts its parts beside it.

`settings` is what a user writes; `compiling` the SQL of it; `readings` and `documents` how each kind reads a text.
"""
