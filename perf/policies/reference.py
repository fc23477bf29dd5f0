"""What others are to be compared with: figures of Dynamo 1.2.1's offline replay, and bounds.

`python -m dynamo.replay TRACE --replay-mode offline --trace-block-size 512`, router defaults, of
Mooncake's conversation trace over eight workers of its mocker with default settings. Milliseconds.
"""
SPEEDS = (1, 2, 3, 4, 6)
METRICS = ("mean_ttft_ms", "p90_ttft_ms", "p99_ttft_ms", "mean_tpot_ms")
# Column: by speed METRICS and the share of prompt tokens that was reused (not kept at x6).
DYNAMO = {
    "P/D round_robin": {1: (507, 1066, 2500, 7.67, .11), 2: (564, 1237, 2691, 9.95, .11),
                        3: (729, 1728, 3130, 13.3, .11), 4: (1154, 2589, 4738, 18.0, .11),
                        6: (49800, 86900, 107000, 24.1, None)},
    "P/D dynamo_kv": {1: (394, 753, 1891, 7.44, .17), 2: (421, 823, 1936, 9.46, .17),
                      3: (477, 928, 2079, 12.7, .16), 4: (621, 1257, 2387, 17.6, .15),
                      6: (45800, 81300, 90900, 24.8, None)},
    "aggregated round_robin": {1: (326, 707, 2077, 8.09, .08), 2: (350, 772, 2179, 10.7, .08),
                               3: (396, 891, 2448, 15.7, .08), 4: (479, 1188, 2811, 26.2, .08),
                               6: (96000, 199000, 255000, 134, None)},
    "aggregated dynamo_kv": {1: (283, 566, 1735, 8.27, .20), 2: (333, 633, 1778, 11.0, .18),
                             3: (368, 711, 1848, 15.2, .17), 4: (411, 797, 1960, 22.8, .16),
                             6: (526, 1033, 2245, 61.4, None)},
}
# Of the same trace and pods: without any queue and with all that was ever computed held everywhere.
BOUND_TTFT_MS = {"mean_ttft_ms": 164, "p99_ttft_ms": 1484}
# What one LRU cache of the capacity of all pods would reuse.
POOLED_REUSE = 0.271


def dynamo(column, speed):
    """Dynamo's figures by metric."""
    return dict(zip((*METRICS, "reuse"), DYNAMO[column][speed]))
