"""What memory_sweep.py prints."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

MIB, GIB = 2.0**20, 2.0**30

#: Of methods in tables.
ORDER = (
    "RAM",
    "RAM + disk",
    "compressed",
    "pyrevolve 2.2.8",
    "checkpoint-schedules",
    "classic Revolve",
)


def print_problems(rows: Sequence[Mapping[str, str]]) -> None:
    """Print a table for every problem, and whether all counts and gradients are what they have to be."""
    measured = [row for row in rows if row["method"] != "costs"]
    for problem in dict.fromkeys(row["problem"] for row in measured):
        mine = [row for row in measured if row["problem"] == problem]
        stored = next(row for row in mine if row["method"] == "store-all")
        print(
            f"\n{problem}: {stored['timesteps']} timesteps, {stored['cells']} grid points, one slice "
            f"{int(stored['slice_bytes']) / MIB:.2f} MiB, all {int(stored['store_all_bytes']) / MIB:.1f} MiB"
        )
        head = ("", "memory", "planned", "resident", "disk", "K", "S", "steps", "optimum", "least", "time")
        units = ("", "of all", "MiB", "+ MiB", "MiB", "", "", "", "", "", "s")
        widths = (22, 8, 10, 10, 9, 6, 6, 9, 9, 9, 9)
        for cells in (
            (*head, "x store", "x 2.2.8", "effic.", "gradient"),
            (*units, "", "", "", ""),
        ):
            print(line(cells, (*widths, 9, 9, 8, 11)))
        old = {row["limit_slices"]: row for row in mine if row["method"] == "pyrevolve 2.2.8"}
        for row in sorted(mine, key=place):
            print(line(cells_of(row, stored, old.get(row["limit_slices"])), (*widths, 9, 9, 8, 11)))
        cold = float(stored["seconds_cold"])
        print(f"store-all cold: {cold:.3f} s, {cold / float(stored['seconds']):.2f} x warm")
    check(measured)


def place(row: Mapping[str, str]) -> tuple[bool, int, int]:
    """Return where a row belongs in a table, whenever it was measured."""
    if row["method"] == "store-all":
        return False, 0, 0
    return True, int(row["limit_slices"]), ORDER.index(row["method"])


def cells_of(
    row: Mapping[str, str], stored: Mapping[str, str], old: Mapping[str, str] | None
) -> tuple[str, ...]:
    """Return one line of a table."""
    planned, seconds = int(row["planned_bytes"]), float(row["seconds"])
    added = int(row["peak_resident_bytes"]) - int(row["resident_before_bytes"])
    snapshots = row["snapshots"]
    if row["snapshots_on_disk"] not in ("", "0"):
        snapshots += "+" + row["snapshots_on_disk"]
    return (
        row["method"] + ("" if row["method"] != "compressed" or row["compressed"] == "True" else " (not)"),
        f"{planned / int(row['store_all_bytes']):.2%}",
        f"{planned / MIB:.1f}",
        f"{added / MIB:.1f}",
        f"{int(row['disk_bytes']) / MIB:.1f}" if row["disk_bytes"] not in ("", "0") else "",
        row["window"],
        snapshots,
        row["forward_steps"],
        row["optimum_steps"],
        row["least_steps"],
        f"{seconds:.3f}",
        f"{seconds / float(stored['seconds']):.2f}",
        f"{float(old['seconds']) / seconds:.2f}" if old is not None and old is not row else "",
        f"{float(row['efficiency']):.3f}" if row["efficiency"] else "",
        "same" if row["same_gradient"] == "True" else f"{float(row['gradient_difference']):.1e}",
    )


def check(rows: Sequence[Mapping[str, str]]) -> None:
    """Say whether gradients are the same, counts optimal and budgets kept, and where they are not."""
    different = [row for row in rows if row["same_gradient"] != "True"]
    more = [row for row in rows if not optimal(row)]
    over = [row for row in rows if int(row["planned_bytes"]) > int(row["limit_bytes"])]
    print()
    for found, good, bad in (
        (different, "all gradients are equal bit for bit", "gradients DIFFER from store-all's"),
        (more, "forward timesteps are the optimum wherever there is a formula", "NOT the optimum"),
        (over, "no plan holds more than its limit", "plans hold MORE than their limit"),
    ):
        names = "; ".join(f"{row['problem']}, {row['method']}, {row['limit_slices']} slices" for row in found)
        print(f"{bad}: {names}" if found else good)


def optimal(row: Mapping[str, str]) -> bool:
    """Return whether a row has as many forward timesteps as the formula says; more, with a disk."""
    if not row["optimum_steps"]:
        return True
    steps, optimum = int(row["forward_steps"]), int(row["optimum_steps"])
    return steps >= optimum if row["snapshots_on_disk"] not in ("", "0") else steps == optimum


def print_large(predicted: Sequence[Mapping[str, object]]) -> None:
    """Print what the large configuration would take."""
    first = predicted[0]
    print(
        f"\nPREDICTED, not run: {first['configuration']}, {first['timesteps']} timesteps; costs measured on "
        f"{first['from_problem']} and scaled by grid points and bytes"
    )
    widths = (18, 9, 10, 10, 6, 9, 9, 9, 9, 9)
    print(line(("", "memory", "held", "disk", "K", "S", "steps/n", "least/n", "hours", "x store"), widths))
    print(line(("", "of all", "GiB", "GiB", "", "", "", "", "", ""), widths))
    for row in predicted:
        steps, seconds = int(str(row["forward_steps"])), float(str(row["seconds"]))
        n = int(str(row["timesteps"]))
        on_disk = row.get("snapshots_on_disk")
        cells = (
            str(row["method"]),
            f"{float(str(row['fraction'])):.2%}",
            f"{int(str(row['planned_bytes'])) / GIB:.1f}",
            f"{int(str(row['disk_bytes'])) / GIB:.1f}" if row["disk_bytes"] else "",
            str(row.get("window", "")),
            str(row.get("snapshots", "")) + (f"+{on_disk}" if on_disk else ""),
            f"{steps / n:.3f}",
            f"{int(str(row['least_steps'])) / n:.3f}",
            f"{seconds / 3600:.2f}",
            f"{float(str(row['times_store_all'])):.2f}",
        )
        print(line(cells, widths))


def line(cells: Sequence[str], widths: Sequence[int]) -> str:
    """Return cells side by side, the first one to the left."""
    first, *rest = zip(cells, widths, strict=True)
    return first[0].ljust(first[1]) + "".join(cell.rjust(width) for cell, width in rest)


def markdown(rows: Sequence[Mapping[str, str]], predicted: Sequence[Mapping[str, object]]) -> str:
    """Return a table for every problem, methods side by side, and one of the predictions."""
    lines: list[str] = []
    measured = [row for row in rows if row["method"] != "costs"]
    for problem in dict.fromkeys(row["problem"] for row in measured):
        mine = [row for row in measured if row["problem"] == problem]
        stored = next(row for row in mine if row["method"] == "store-all")
        warm = float(stored["seconds"])
        methods = [method for method in ORDER if any(row["method"] == method for row in mine)]
        lines += [
            f"**{problem}**, {stored['timesteps']} timesteps: store-all holds "
            f"{int(stored['store_all_bytes']) / MIB:.0f} MiB and takes {warm:.3g} s, "
            f"{float(stored['seconds_cold']):.3g} s the first time.",
            "",
            "| memory limit | " + " | ".join(methods) + " |",
            "|--:" * (1 + len(methods)) + "|",
        ]
        for limit in sorted({int(row["limit_slices"]) for row in mine if row is not stored}):
            at = {row["method"]: row for row in mine if row["limit_slices"] == str(limit)}
            n = int(stored["timesteps"])
            cells = [
                f"{float(at[m]['seconds']) / warm:.2f} ({int(at[m]['forward_steps']) / n:.2f})"
                if m in at
                else ""
                for m in methods
            ]
            lines.append(f"| {limit / (n + 2):.1%} | " + " | ".join(cells) + " |")
        lines.append("")
    if predicted:
        lines += _predicted_markdown(predicted)
    return "\n".join(lines)


def _predicted_markdown(predicted: Sequence[Mapping[str, object]]) -> list[str]:
    first = predicted[0]
    methods = [method for method in ORDER if any(row["method"] == method for row in predicted)]
    everything = int(str(first["store_all_bytes"]))
    lines = [
        f"**Predicted, not run**: {first['configuration']}, {first['timesteps']} timesteps, from costs "
        f"measured on {first['from_problem']}. Store-all would hold {everything / GIB:.0f} GiB.",
        "",
        "| memory limit | GiB | " + " | ".join(methods) + " |",
        "|--:" * (2 + len(methods)) + "|",
    ]
    for limit in sorted({int(str(row["limit_bytes"])) for row in predicted if row["method"] in methods}):
        at = {str(row["method"]): row for row in predicted if row["limit_bytes"] == limit}
        cells = [f"{float(str(at[m]['times_store_all'])):.2f}" if m in at else "" for m in methods]
        lines.append(f"| {limit / everything:.2%} | {limit / GIB:.0f} | " + " | ".join(cells) + " |")
    return lines
