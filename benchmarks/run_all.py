"""Run all benchmarks, one after the other, and write RESULTS.md.

python benchmarks/run_all.py            (all of it; leave the machine alone meanwhile)
python benchmarks/run_all.py --quick    (small parts: shows that everything runs; writes nothing)
"""

import subprocess
import sys
from pathlib import Path

SCRIPTS = [
    "bench_exact.py",
    "bench_graph.py",
    "bench_query.py",
    "bench_join.py",
    "bench_proxies.py",
    "bench_text.py",
    "bench_interop.py",
    "bench_kernels.py",
    "bench_cold_start.py",
]


def main() -> int:
    """Run each script in a process of its own; returns how many failed."""
    options = sys.argv[1:] if "--quick" in sys.argv else [*sys.argv[1:], "--write"]
    failed = 0
    for script in SCRIPTS:
        print(f"\n=== {script} {' '.join(options)}", flush=True)
        command = [sys.executable, str(Path(__file__).resolve().parent / script), *options]
        failed += subprocess.run(command, check=False).returncode != 0
    return failed


if __name__ == "__main__":
    sys.exit(main())
