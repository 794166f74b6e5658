"""Hot loops compiled with numba. They know arrays and nothing else.

Every kernel gives the same bits whatever the number of threads: work is cut into pieces by the data alone, and
partial sums are added in a fixed order.
"""
