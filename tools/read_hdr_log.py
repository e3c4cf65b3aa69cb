#!/usr/bin/env python3
"""Prints what a histogram log of `linerate --hdr-log` holds, read by HdrHistogram's own Python port.

    pip install hdrhistogram
    python3 tools/read_hdr_log.py run.hlog

One line an interval and, under the tag "total", one for all of them together, tab-separated:
tag, start and length in seconds, number of values, then the percentiles and the maximum in
nanoseconds.
"""

import sys

from hdrh.histogram import HdrHistogram
from hdrh.log import HistogramLogReader

PERCENTILES = (50, 90, 99, 99.9, 99.99)
# The bounds that linerate records with: 1 ns to 4 hours, three digits.
BOUNDS = (1, 4 * 3600 * 1_000_000_000, 3)


def line(tag, start_s, length_s, histogram):
    values = [histogram.get_value_at_percentile(percentile) for percentile in PERCENTILES]
    values.append(histogram.get_max_value())
    count = histogram.get_total_count()
    fields = [tag, f"{start_s:.3f}", f"{length_s:.3f}", count, *values]
    return "\t".join(str(field) for field in fields)


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    names = [f"p{percentile}" for percentile in PERCENTILES]
    print("\t".join(["tag", "start_s", "length_s", "count", *names, "max"]))
    total = HdrHistogram(*BOUNDS)
    reader = HistogramLogReader(sys.argv[1], total)
    length_s = 0.0
    while (interval := reader.get_next_interval_histogram()) is not None:
        start_ms = interval.get_start_time_stamp()
        interval_s = (interval.get_end_time_stamp() - start_ms) / 1000
        length_s += interval_s
        start_s = start_ms / 1000 - reader.get_start_time_sec()
        print(line(interval.get_tag() or "-", start_s, interval_s, interval))
        total.add(interval)
    print(line("total", 0.0, length_s, total))


if __name__ == "__main__":
    main()
