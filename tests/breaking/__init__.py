"""A trial by breaking it: for each promise the mechanism that keeps it is taken out, and the test that guards it must fail.

    python -m tests.breaking --all

`mechanisms` lists them, `tests/README.md` shows them by promise.
"""
