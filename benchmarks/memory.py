"""Peak memory of making a graph, above the loaded input, in a process of its own."""

import gc
import json
import resource
import subprocess
import sys
from pathlib import Path

import common
import scipy.sparse as sp
from common import Line

K = 15


def graph_memory(file, method, at_most):
    """Line with the peak as a share of input and result."""
    command = [sys.executable, str(Path(__file__).resolve()), str(file), method]
    done = subprocess.run(command, capture_output=True, text=True, env=common.child_environment())
    if done.returncode:
        print(f"memory could not be measured: {done.stderr.strip().splitlines()[-1]}")
        return []
    figures = json.loads(done.stdout)
    peak, data, result = (figures[key] / 1e6 for key in ("peak", "input", "result"))
    note = f"{peak:,.0f} MB above the input; input {data:,.0f} MB, result {result:,.0f} MB"
    return [Line("peak memory of the graph / (input + result)", peak / (data + result), "", at_most=at_most, note=note)]


def main(file, method):
    """Child process: print the peak of memory above that with the input loaded and the code compiled."""
    import sparsenn as sn

    rows = sp.load_npz(file)

    def graph_of(some):
        return sn.Index("cosine", n_neighbors=K, method=method, n_jobs=2).fit(some).neighbor_graph

    graph_of(rows[:300])
    gc.collect()
    status = Path("/proc/self/status")
    try:  # Linux: set the mark back to what is in use now
        Path("/proc/self/clear_refs").write_text("5")

        def peak():
            line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
            return int(line.split()[1]) * 1024

    except OSError:  # the mark of loading and compiling stays, and may hide some of the peak

        def peak():
            return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)

    before = peak()
    graph = graph_of(rows)
    result = sum(array.nbytes for array in graph)
    held = rows.data.nbytes + rows.indices.nbytes + rows.indptr.nbytes
    print(json.dumps({"peak": peak() - before, "input": held, "result": result}))


if __name__ == "__main__":
    main(*sys.argv[1:])
