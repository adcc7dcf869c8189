"""`make demo`: the main job from end to end (`python -m headrace.demo`)."""
