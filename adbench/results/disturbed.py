"""Whether the time of a record was taken on a busy machine, from the record alone."""

from adbench.results.record import Record

SPREAD = 2.0
"""The 95th percentile may be this many times the median: of the 98 times in ``results/records``, 96
stay below 1.6 times."""
SHARE = 0.1
"""The part of its own cores that a run may lose to others unnoticed."""


def disturbed(record: Record) -> str | None:
    """What shows that other work made the time of a record longer; None where nothing does.

    Others take cores from a run where they keep more busy than the run leaves free.
    """
    signs = []
    environment, total = record.environment, record.time.get("total", {})
    others = environment.get("load", {}).get("others")
    cores, threads = environment.get("cores"), environment.get("threads")
    if others is not None and cores and threads:
        used = min(threads, cores)
        if others > cores - used + SHARE * used:
            signs.append(f"other work kept {others:.1f} of {cores} cores busy")
    if total and total["p95"] > SPREAD * total["p50"]:
        signs.append(f"the 95th percentile is {total['p95'] / total['p50']:.1f} times the median")
    return " and ".join(signs) or None
