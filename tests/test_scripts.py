"""The benchmarks: all of them start, peers keep their limits, the page follows from the kept files.

No time is asserted.
"""

import importlib
import json
import runpy
import subprocess
import sys
import time
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pytest

SCRIPTS = Path(__file__).parents[1] / "scripts"
RESULTS = SCRIPTS.parent / "results"
pytestmark = pytest.mark.skipif(
    not SCRIPTS.is_dir(), reason="not in a checkout: there are no scripts"
)


@pytest.fixture
def scripts(monkeypatch):
    monkeypatch.syspath_prepend(SCRIPTS)


@pytest.fixture
def bench_all(scripts):
    import bench_all

    return bench_all


@pytest.fixture
def goals(scripts):
    import goals

    return goals


@pytest.fixture
def page(scripts):
    import page

    return page


@pytest.fixture
def benchmark(scripts, monkeypatch):
    import benchmark

    # Those of this process are other tests' too.
    monkeypatch.setattr(benchmark, "set_threads", lambda threads: None)
    return benchmark


@pytest.fixture
def processes(scripts):
    import processes

    return processes


@pytest.fixture
def start(scripts):
    """Starts a peer and gives it with the list of what it says; peers are ended at last."""
    import peers
    from processes import Limits

    started = []

    def start(make, seconds=100.0, memory=None):
        said = []
        peer = peers.Peer("the peer", make, 1, Limits(seconds, memory), said.append)
        started.append(peer)
        return peer, said

    yield start
    for peer in started:
        peer.close()


def kept(figures, **changed):
    machine = {
        "processor": "P1",
        "cores": 2,
        "system": "Linux",
        "python": "3.11",
        "blas": ["openblas-Zenx1"],
        "variables": {"OPENBLAS_CORETYPE": "Zen"},
        "versions": {"torch": "2.9"},
        "commit": "abc",
    }
    content = {"figures": figures, "lines": ["one line"], "quick": False, "seconds": 61.4}
    return {**content, "machine": machine, "date": "2026-01-02T03:04:05+00:00", **changed}


def row(text, what, goal):
    (line,) = [line for line in text.splitlines() if line.startswith(f"| {what} | {goal} |")]
    return [cell.strip() for cell in line.strip("|").split("|")][2:]


@pytest.mark.parametrize("path", sorted(SCRIPTS.glob("bench_*.py")), ids=lambda path: path.stem)
def test_a_script_tells_its_options_and_the_way_to_keep_its_figures(
    path, scripts, monkeypatch, capsys
):
    monkeypatch.setattr(sys, "argv", [str(path), "--help"])
    with pytest.raises(SystemExit) as ended:  # in this process, which has loaded torch already
        runpy.run_path(str(path), run_name="__main__")
    assert ended.value.code == 0
    said = capsys.readouterr().out
    assert all(option in said for option in ("--threads", "--quick"))
    assert ("--json" in said) != (path.name == "bench_all.py")


def test_scripts_that_measure_processes_load_nothing_heavy():
    for name in ("bench_run", "bench_sweep", "bench_growth", "bench_all"):
        told = (
            "import sys; sys.path.insert(0, sys.argv[1]); __import__(sys.argv[2]); "
            "print('torch' in sys.modules)"
        )
        done = subprocess.run(
            [sys.executable, "-c", told, SCRIPTS, name],
            capture_output=True,
            text=True,
            check=True,
            timeout=60,
        )
        assert done.stdout == "False\n", name


def test_every_script_is_on_the_page(goals):
    scripts = {bench.script for bench in goals.BENCHES}
    assert scripts == {path.name for path in SCRIPTS.glob("bench_*.py")} - {"bench_all.py"}
    names = [bench.name for bench in goals.BENCHES]
    assert len(set(names)) == len(names)


def test_the_committed_page_is_what_the_committed_files_say(page):
    found = page.load(RESULTS / "performance")
    if not found:
        pytest.skip("no measurement is committed")
    assert page.to_markdown(found) == (RESULTS / "performance.md").read_text()


class Read(dict):
    """Figures that are all 1, and remember which of them were read."""

    def __missing__(self, key):
        return self.setdefault(key, 1.0)


def test_every_goal_reads_figures_of_benchmarks_that_exist(goals):
    read = Read()
    for goal in goals.GOALS:
        goal.value(read)
    assert {key.partition(".")[0] for key in read} <= {bench.name for bench in goals.BENCHES}


def test_the_committed_files_hold_every_figure_that_a_goal_reads_of_them(goals, page):
    found = page.load(RESULTS / "performance")
    if not found:
        pytest.skip("no measurement is committed")
    read = Read()
    for goal in goals.GOALS:
        goal.value(read)
    # Those of peers that may be left out, or that fail with two threads.
    optional = {"run.ratio", "padim.ratio"}
    for benches in found.values():
        keys = {key for key in read if key.partition(".")[0] in benches} - optional
        assert keys <= set(page.gather(benches))


def test_a_goal_is_reached_with_every_number_of_threads_or_not_at_all(page):
    found = {
        1: {
            "spade": kept({"ratio": 1155.4}),
            "crd": kept({"ratio": 1.63, "five_lambdas_over_one": 1.1}),
        },
        2: {
            "spade": kept({"ratio": 499.0}),
            "crd": kept({"ratio": 0.95, "five_lambdas_over_one": 1.05}),
        },
    }
    text = page.to_markdown(found)
    assert row(text, "SPADE K 50", "≥ 500× SPADE-pytorch") == ["1155×", "499×", "no"]  # noqa: RUF001
    assert row(text, "CRD", "≥ 95% of the GEMM limit") == ["163%", "95%", "yes"]
    assert row(text, "CRD, five lambdas", "≤ 1.1× one") == ["1.1×", "1.05×", "yes"]  # noqa: RUF001
    assert row(text, "PaDiM d 550 fit", "≥ 15× anomalib")[-1] == "not measured"  # noqa: RUF001


def test_a_missed_goal_shows_its_reason_and_a_reached_one_does_not(page, monkeypatch):
    reasons = {"spade": "too slow by 1.", "crd_limit": "unused."}
    monkeypatch.setattr(page, "REASONS", reasons)
    benches = {"spade": kept({"ratio": 499.0}), "crd": kept({"ratio": 1.0})}
    text = page.to_markdown({1: benches})
    assert "- SPADE K 50, ≥ 500× SPADE-pytorch: too slow by 1." in text  # noqa: RUF001
    assert "unused." not in text


def test_the_page_tells_machines_trials_and_what_was_not_measured(page):
    other = {**kept({})["machine"], "commit": "def"}
    found = {
        1: {"spade": kept({"ratio": 2.0}, quick=True)},
        2: {"spade": kept({}, machine=other, date="2026-01-03T00:00:00+00:00")},
    }
    text = page.to_markdown(found)
    assert "| commit | abc; def |" in text
    assert "| measured | 2026-01-02 to 2026-01-03 |" in text
    assert "| variables that were set | OPENBLAS_CORETYPE Zen |" in text
    assert "(`--quick`): spade." in text
    assert "`python scripts/bench_spade.py --threads 2`, 61 s\n\n```\none line\n```" in text
    crd = text[text.index("## CRD") : text.index("## Pixel metrics")]
    assert crd.endswith("Not measured.\n\n")


def test_nothing_measured_is_a_page_too(bench_all, goals, tmp_path):
    bench_all.render(tmp_path)
    text = (tmp_path / "performance.md").read_text()
    assert text.count("Not measured.") == len(goals.BENCHES)


def test_rendering_draws_growth_from_the_kept_figures(bench_all, scripts, tmp_path):
    import bench_growth

    figures = {}
    for stage in bench_growth.STAGES:
        name = bench_growth.benchmark.key(stage)
        for unit in ("s", "bytes"):
            figures |= {f"{name}_{n}_{unit}": float(n) * 1e6 for n in (50, 100)}
            figures[f"{name}_slope_{unit}"] = bench_growth.slope([50, 100], [50.0, 100.0])
    (tmp_path / "performance").mkdir()
    (tmp_path / "performance" / "growth-t1.json").write_text(json.dumps(kept(figures)))
    bench_all.render(tmp_path)
    svg = (tmp_path / "figures" / "growth.svg").read_bytes()
    assert (tmp_path / "figures" / "growth.png").exists()
    assert "figures/growth.png" in (tmp_path / "performance.md").read_text()
    bench_all.render(tmp_path)
    assert (tmp_path / "figures" / "growth.svg").read_bytes() == svg


def test_slopes_are_those_of_powers(scripts):
    import bench_growth

    assert bench_growth.slope([1, 10, 100], [2.0, 200.0, 20000.0]) == pytest.approx(2.0)
    assert bench_growth.slope([50, 100, 200], [3.0, 3.0, 3.0]) == pytest.approx(0.0, abs=1e-12)


def test_contestants_take_turns_and_may_take_their_own_time(benchmark):
    calls = []

    def own(turn):
        calls.append(("own", turn))
        return [3.0, 1.0, 2.0][turn]

    def dear(turn):
        calls.append(("dear", turn))
        return 7.0

    medians = benchmark.in_turns({"own": own, "dear": dear}, 3, 1, warm_up=True, once=["dear"])
    assert calls == [("own", 0), ("dear", 0), ("own", 0), ("dear", 0), ("own", 1), ("own", 2)]
    assert medians == {"own": 2.0, "dear": 7.0}


def test_a_report_is_kept_with_what_it_was_measured_on(benchmark, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["scripts/bench_made.py"])
    words = ["--json", str(tmp_path / "a.json"), "--quick"]
    options = benchmark.parser("made", quick="less").parse_args(words)
    report = benchmark.Report(options)
    report.table({"adbench": 0.002, "a peer's": 20.0}, "adbench", {"a peer's": "scaled"})
    report.finish(10_000.0)
    shown = capsys.readouterr().out.splitlines()
    assert shown[-1] == "ratio: 10000.00"
    content = json.loads((tmp_path / "a.json").read_text())
    assert content["lines"] == shown[:-1]
    assert content["lines"] == [
        "adbench        2.00 ms      1.00 x",
        "a peer's      20.00 s   10000.00 x  scaled",
    ]
    assert content["figures"] == {"adbench_s": 0.002, "a_peer_s_s": 20.0, "ratio": 10_000.0}
    assert content["quick"] is True
    assert content["script"] == "bench_made.py"
    assert {"processor", "blas", "versions", "commit"} <= set(content["machine"])


def test_a_process_is_measured_by_itself_and_its_failure_is_told(processes):
    done = processes.run_process("-c", "block = bytearray(200_000_000); print('[1]')")
    assert processes.last_json(done.output) == [1]
    assert done.seconds > 0
    with pytest.raises(RuntimeError, match=r"ended with 3:\nbecause"):
        processes.run_process("-c", "import sys; print('because'); sys.exit(3)")


def test_a_process_is_held_to_limits(processes):
    limits = processes.Limits(seconds=30, memory=500_000_000)
    code = "bytearray(100_000_000); print('small', flush=True); bytearray(2_000_000_000)"
    with pytest.raises(processes.ProcessFailed) as failed:
        processes.run_process("-c", code, limits=limits)
    assert "small" in str(failed.value)
    assert failed.value.last == "MemoryError"
    late = "import time; print('here', flush=True); time.sleep(60)"
    with pytest.raises(processes.ProcessFailed) as failed:
        processes.run_process("-c", late, limits=processes.Limits(seconds=1, memory=10**9))
    assert failed.value.why == "was stopped after 1 s"
    assert failed.value.last == "here"


def test_the_limit_of_memory_is_what_is_free_where_none_is_given(processes, monkeypatch):
    from adbench.system import machine

    monkeypatch.setattr(machine, "free_memory", lambda: 10**9)
    assert processes.Limits(1.0).bytes() == 9 * 10**8
    assert processes.Limits(1.0, 7).bytes() == 7


@pytest.mark.slow
def test_a_peer_is_made_once_and_called_in_its_process(start):
    peer, said = start(partial(list, [5, 4, 5]))
    assert peer.value("count", 5) == 2
    peer.seconds("append", 5)
    assert peer.value("count", 5) == 3
    assert peer.seconds("__len__") >= 0
    assert not said


@pytest.mark.slow
def test_seconds_that_a_peer_measured_itself_count(start):
    peer, _ = start(partial(float, 2.5))
    assert peer.seconds("__abs__") == 2.5


@pytest.mark.slow
def test_a_peer_that_takes_too_long_is_stopped(scripts, start):
    from peers import PeerFailed

    peer, said = start(partial(importlib.import_module, "time"), seconds=20.0)
    before = time.monotonic()
    with pytest.raises(PeerFailed):
        peer.seconds("sleep", 300)
    assert time.monotonic() - before < 100
    assert said == ["the peer: was stopped in sleep after 20 s"]
    assert not peer.alive
    with pytest.raises(PeerFailed, match="has failed before"):
        peer.seconds("sleep", 0)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("module", "call", "why"),
    [
        ("builtins", ("bytearray", 10**10), "fails in bytearray, with at most 4.0 GB: MemoryError"),
        ("builtins", ("int", "x"), "fails in int, with at most 4.0 GB: ValueError: invalid"),
        ("os", ("_exit", 3), "the process ended with 3 in _exit; it might take 4.0 GB"),
    ],
)
def test_what_goes_wrong_in_a_peer_is_told(scripts, start, module, call, why):
    from peers import PeerFailed

    peer, said = start(partial(importlib.import_module, module), memory=4 * 10**9)
    with pytest.raises(PeerFailed):
        peer.value(*call)
    (line,) = said
    assert line.startswith(f"the peer: {why}")
    assert not peer.alive


@pytest.mark.slow
def test_the_benchmark_goes_on_without_peers_that_are_missing_or_fail(benchmark, capsys):
    parser = benchmark.parser("made", quick="less", peer_seconds=100)
    report = benchmark.Report(parser.parse_args(["--peer-memory", "4"]))
    peers = report.peer_processes(
        {
            "absent": partial(importlib.import_module, "no_such_peer"),
            "broken": partial(int, "x"),
            "fails": partial(list, [1]),  # cannot be called
        }
    )
    assert list(peers) == ["fails"]
    contestants = {"adbench": lambda turn: 2.0, **peers}
    assert benchmark.in_turns(contestants, 2, 1) == {"adbench": 2.0}
    told = capsys.readouterr().out.splitlines()
    assert told == report.lines
    assert told[0] == "absent: not installed (pip install 'adbench-vision[peers]')"
    assert told[1].startswith("broken: fails in its start, with at most 4.0 GB: ValueError")
    assert told[2].startswith("fails: fails in __call__, with at most 4.0 GB: AttributeError")


def test_a_ratio_needs_both_sides(benchmark):
    assert benchmark.over({"ours": 2.0, "a peer": 10.0}, "a peer", "ours") == 5.0
    assert benchmark.over({"ours": 2.0}, "a peer", "ours") is None


@pytest.mark.slow
@pytest.mark.parametrize(
    ("script", "told"),
    [
        ("bench_padim", "adbench: distances within"),
        ("bench_metrics", "adbench, all four"),
    ],
)
def test_a_trial_with_peers_in_processes_ends_with_a_ratio(script, told, tmp_path):
    kept = tmp_path / "kept.json"
    words = [sys.executable, SCRIPTS / f"{script}.py", "--quick", "--json", kept]
    done = subprocess.run(words, capture_output=True, text=True, check=True, timeout=300)
    assert any(line.startswith(told) for line in done.stdout.splitlines())
    assert done.stdout.splitlines()[-1].startswith("ratio: ")
    assert json.loads(kept.read_text())["figures"]


def test_the_rates_are_of_scores_that_are_made(scripts):
    import measure_rates

    made = []
    family = SimpleNamespace(score=lambda images, places: (made.append(p) for p in places))
    measure_rates.scored(family, SimpleNamespace(test=None), [0, 1])
    assert made == [0, 1]
