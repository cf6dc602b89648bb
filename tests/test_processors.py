"""How many processors a process may use."""

import os

import pytest

from adbench.system import processors


@pytest.fixture(autouse=True)
def nothing_else(monkeypatch, tmp_path):
    """A machine of 16 processors without limits."""
    for name in processors.VARIABLES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(16)), raising=False)
    monkeypatch.setattr(processors, "OWN_GROUPS", tmp_path / "none")
    monkeypatch.setattr(processors, "GROUPS", tmp_path / "groups")


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({}, 16),
        ({"SLURM_CPUS_PER_TASK": "8"}, 8),
        ({"OMP_NUM_THREADS": "4", "SLURM_CPUS_PER_TASK": "8"}, 4),
        ({"OMP_NUM_THREADS": "6,2"}, 6),
        ({"OMP_NUM_THREADS": "64"}, 16),
        ({"OMP_NUM_THREADS": "0", "SLURM_CPUS_PER_TASK": "all"}, 16),
    ],
)
def test_the_least_of_processors_and_variables_counts(monkeypatch, variables, expected):
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert processors.processors() == expected


@pytest.mark.parametrize(
    ("quota", "period", "expected"),
    [
        ("200000", "100000", 2),
        ("250000", "100000", 3),
        ("10000", "100000", 1),
        ("max", "100000", 16),
    ],
)
def test_the_quota_of_a_control_group_counts(monkeypatch, tmp_path, quota, period, expected):
    own = tmp_path / "cgroup"
    own.write_text("0::/jobs/one\n")
    monkeypatch.setattr(processors, "OWN_GROUPS", own)
    (tmp_path / "groups" / "jobs" / "one").mkdir(parents=True)
    (tmp_path / "groups" / "jobs" / "cpu.max").write_text(f"{quota} {period}\n")
    assert processors.processors() == expected


@pytest.mark.parametrize(("quota", "expected"), [("150000", 2), ("-1", 16)])
def test_the_quota_of_the_first_version_counts(monkeypatch, tmp_path, quota, expected):
    own = tmp_path / "cgroup"
    own.write_text("5:memory:/other\n4:cpu,cpuacct:/box\n")
    monkeypatch.setattr(processors, "OWN_GROUPS", own)
    folder = tmp_path / "groups" / "cpu,cpuacct" / "box"
    folder.mkdir(parents=True)
    (folder / "cpu.cfs_quota_us").write_text(quota)
    (folder / "cpu.cfs_period_us").write_text("100000")
    assert processors.processors() == expected
