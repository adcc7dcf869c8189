"""The proof of headrace's promises: everything runs, under load, while every part of it is killed, cut off or filled up.

    python -m tests.torture --minutes 10 --seed 1

`schedule` deals the faults, `parts` are what runs, `faults` does the harm and takes it back, `clients` send numbered
events and write down what was acknowledged, `evidence` reads what came out, `judge` compares, `report` prints.
"""
