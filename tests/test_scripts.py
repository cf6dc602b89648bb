"""The benchmarks: all of them start, and the page follows from the kept files alone. No time is asserted."""

import json
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPTS = Path(__file__).parents[1] / "scripts"
RESULTS = SCRIPTS.parent / "results"
pytestmark = pytest.mark.skipif(not SCRIPTS.is_dir(), reason="not in a checkout: there are no scripts")


@pytest.fixture
def scripts(monkeypatch):
    monkeypatch.syspath_prepend(SCRIPTS)


@pytest.fixture
def bench_all(scripts):
    import bench_all

    return bench_all


@pytest.fixture
def benchmark(scripts, monkeypatch):
    import benchmark

    monkeypatch.setattr(benchmark, "set_threads", lambda threads: None)  # of this process, which runs other tests too
    return benchmark


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


def row(page, what, goal):
    (line,) = [line for line in page.splitlines() if line.startswith(f"| {what} | {goal} |")]
    return [cell.strip() for cell in line.strip("|").split("|")][2:]


@pytest.mark.parametrize("path", sorted(SCRIPTS.glob("bench_*.py")), ids=lambda path: path.stem)
def test_a_script_tells_its_options_and_the_way_to_keep_its_figures(path, scripts, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", [str(path), "--help"])
    with pytest.raises(SystemExit) as ended:  # in this process, which has loaded torch already
        runpy.run_path(str(path), run_name="__main__")
    assert ended.value.code == 0
    said = capsys.readouterr().out
    assert all(option in said for option in ("--threads", "--quick"))
    assert ("--json" in said) != (path.name == "bench_all.py")


def test_scripts_that_measure_processes_load_nothing_heavy():
    for name in ("bench_run", "bench_sweep", "bench_growth", "bench_all"):
        told = "import sys; sys.path.insert(0, sys.argv[1]); __import__(sys.argv[2]); print('torch' in sys.modules)"
        done = subprocess.run(
            [sys.executable, "-c", told, SCRIPTS, name], capture_output=True, text=True, check=True, timeout=60
        )
        assert done.stdout == "False\n", name


def test_every_script_is_on_the_page(bench_all):
    scripts = {bench.script for bench in bench_all.BENCHES}
    assert scripts == {path.name for path in SCRIPTS.glob("bench_*.py")} - {"bench_all.py"}
    names = [bench.name for bench in bench_all.BENCHES]
    assert len(set(names)) == len(names)


def test_the_committed_page_is_what_the_committed_files_say(bench_all):
    found = bench_all.load(RESULTS / "performance")
    if not found:
        pytest.skip("no measurement is committed")
    assert bench_all.to_markdown(found) == (RESULTS / "performance.md").read_text()


class Asked(dict):
    """Figures that are all 1, and remember which of them were read."""

    def __missing__(self, key):
        return self.setdefault(key, 1.0)


def test_every_goal_reads_figures_of_benchmarks_that_exist(bench_all):
    asked = Asked()
    for goal in bench_all.GOALS:
        goal.value(asked)
    assert {key.partition(".")[0] for key in asked} <= {bench.name for bench in bench_all.BENCHES}


def test_the_committed_files_hold_every_figure_that_a_goal_reads_of_them(bench_all):
    found = bench_all.load(RESULTS / "performance")
    if not found:
        pytest.skip("no measurement is committed")
    asked = Asked()
    for goal in bench_all.GOALS:
        goal.value(asked)
    for benches in found.values():
        read = {key for key in asked if key.partition(".")[0] in benches}
        read -= {"run.ratio", "padim.ratio"}  # of peers that may be left out, or that fail with two threads
        assert read <= set(bench_all.gather(benches))


def test_a_goal_is_reached_with_every_number_of_threads_or_not_at_all(bench_all):
    found = {
        1: {"spade": kept({"ratio": 1155.4}), "crd": kept({"ratio": 1.63, "five_lambdas_over_one": 1.1})},
        2: {"spade": kept({"ratio": 499.0}), "crd": kept({"ratio": 0.95, "five_lambdas_over_one": 1.05})},
    }
    page = bench_all.to_markdown(found)
    assert row(page, "SPADE K 50", "≥ 500× SPADE-pytorch") == ["1155×", "499×", "no"]  # noqa: RUF001
    assert row(page, "CRD", "≥ 95% of the GEMM limit") == ["163%", "95%", "yes"]
    assert row(page, "CRD, five lambdas", "≤ 1.1× one") == ["1.1×", "1.05×", "yes"]  # noqa: RUF001
    assert row(page, "PaDiM d 550 fit", "≥ 15× anomalib")[-1] == "not measured"  # noqa: RUF001


def test_a_missed_goal_shows_its_reason_and_a_reached_one_does_not(bench_all, monkeypatch):
    monkeypatch.setattr(bench_all, "REASONS", {"spade": "too slow by 1.", "crd_limit": "unused."})
    page = bench_all.to_markdown({1: {"spade": kept({"ratio": 499.0}), "crd": kept({"ratio": 1.0})}})
    assert "- SPADE K 50, ≥ 500× SPADE-pytorch: too slow by 1." in page  # noqa: RUF001
    assert "unused." not in page


def test_the_page_tells_machines_trials_and_what_was_not_measured(bench_all):
    other = {**kept({})["machine"], "commit": "def"}
    found = {
        1: {"spade": kept({"ratio": 2.0}, quick=True)},
        2: {"spade": kept({}, machine=other, date="2026-01-03T00:00:00+00:00")},
    }
    page = bench_all.to_markdown(found)
    assert "| commit | abc; def |" in page
    assert "| measured | 2026-01-02 to 2026-01-03 |" in page
    assert "| variables that were set | OPENBLAS_CORETYPE Zen |" in page
    assert "(`--quick`): spade." in page
    assert "`python scripts/bench_spade.py --threads 2`, 61 s\n\n```\none line\n```" in page
    crd = page[page.index("## CRD") : page.index("## Pixel metrics")]
    assert crd.endswith("Not measured.\n\n")


def test_nothing_measured_is_a_page_too(bench_all, tmp_path):
    bench_all.render(tmp_path)
    page = (tmp_path / "performance.md").read_text()
    assert page.count("Not measured.") == len(bench_all.BENCHES)


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
    options = benchmark.parser("made", quick="less").parse_args(["--json", str(tmp_path / "a.json"), "--quick"])
    report = benchmark.Report(options)
    report.table({"adbench": 0.002, "a peer's": 20.0}, "adbench", {"a peer's": "scaled"})

    def missing():
        raise ImportError("no such peer")

    assert report.peers({"here": lambda: 1, "absent": missing}) == {"here": 1}
    report.finish(10_000.0)
    shown = capsys.readouterr().out.splitlines()
    assert shown[-1] == "ratio: 10000.00"
    content = json.loads((tmp_path / "a.json").read_text())
    assert content["lines"] == shown[:-1]
    assert content["lines"] == [
        "adbench        2.00 ms      1.00 x",
        "a peer's      20.00 s   10000.00 x  scaled",
        "absent: not installed (pip install 'adbench[peers]')",
    ]
    assert content["figures"] == {"adbench_s": 0.002, "a_peer_s_s": 20.0, "ratio": 10_000.0}
    assert content["quick"] is True
    assert content["script"] == "bench_made.py"
    assert {"processor", "blas", "versions", "commit"} <= set(content["machine"])


def test_a_process_is_measured_by_itself_and_its_failure_is_told(benchmark):
    done = benchmark.run_process("-c", "block = bytearray(200_000_000); print('[1]')")
    assert benchmark.last_json(done.output) == [1]
    assert done.seconds > 0
    with pytest.raises(RuntimeError, match=r"ended with 3:\nbecause"):
        benchmark.run_process("-c", "import sys; print('because'); sys.exit(3)")
