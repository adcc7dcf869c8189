"""`mask`: puts something harmless in the place of what must not be seen.

`settings` is what a user writes; `compiling` the SQL of it; `functions` what that calls on the connection that runs it.
"""
