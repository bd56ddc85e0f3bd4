"""Medians of runs, and markdown tables of them."""

import statistics

FIGURES = [
    "per_second", "p50", "p99", "p99_9", "nodes_cpu_per_op", "generator_cpu_per_op", "rss",
]


def medians(runs):
    """One result for each load of each system: the median of each figure, and all errors."""
    groups = {}
    for run in runs:
        groups.setdefault((run["load"], run["system"]), []).append(run)
    results = []
    for (load, system), group in groups.items():
        result = {"load": load, "system": system, "runs": len(group)}
        for figure in FIGURES:
            result[figure] = statistics.median(run[figure] for run in group)
        result["errors"] = sum(run["errors"] for run in group)
        results.append(result)
    return results


def loads(results, explain):
    """Of what the systems do. `explain` has the words for each load, in order."""
    rows = []
    for load, words in explain.items():
        of_load = [result for result in results if result["load"] == load]
        for result in sorted(of_load, key=lambda result: -result["per_second"]):
            times = [millis(result[name]) for name in ("p50", "p99", "p99_9")]
            cpu = [f"{result[name]:.1f}" for name in ("nodes_cpu_per_op", "generator_cpu_per_op")]
            done = f"{result['per_second']:,.0f}"
            rows.append([words, result["system"], done, *times, *cpu, f"{result['errors']}"])
    head = ["load", "system", "done/s", "p50 ms", "p99 ms", "p99.9 ms", "CPU µs", "generator µs"]
    return table([*head, "errors"], rows, 2)


def memory(results, versions):
    """Of the most memory after any of the loads."""
    rows = []
    for system, version in versions.items():
        used = [result["rss"] for result in results if result["system"] == system]
        if used:
            rows.append([system, version, f"{max(used) / 1e6:,.0f}"])
    return table(["system", "version", "resident MB, three nodes"], rows, 2)


def limits(measured):
    """Of what the machine does."""
    rows = []
    for words, limit in measured.items():
        times = [millis(limit[name]) for name in ("p50", "p99", "p99_9")]
        rows.append([words, f"{limit['per_second']:,.0f}", *times])
    return table(["limit", "done/s", "p50 ms", "p99 ms", "p99.9 ms"], rows, 1)


def failovers(measured):
    """Of the times without a write, in microseconds, by system."""
    rows = []
    for system, gaps in measured.items():
        times = [min(gaps), statistics.median(gaps), max(gaps)]
        rows.append([system, f"{len(gaps)}", *(f"{time / 1e3:,.0f}" for time in times)])
    return table(["leader killed", "times", "shortest ms", "median ms", "longest ms"], rows, 1)


def table(head, rows, left):
    """Of markdown; all columns but the first ones are numbers."""
    rule = ["---" if index < left else "---:" for index in range(len(head))]
    return "".join(f"| {' | '.join(row)} |\n" for row in [head, rule, *rows])


def millis(micros):
    """Three digits that count."""
    value = micros / 1e3
    return f"{value:.2f}" if value < 10 else f"{value:.1f}" if value < 100 else f"{value:.0f}"
