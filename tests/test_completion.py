"""Tab completion runs nothing and proposes nothing that a shell would read otherwise."""

import os
import subprocess
import sys

import pytest

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="bash")
SCRIPT = """
adbench() { "$PYTHON" -m adbench "$@"; }
eval "$(adbench -sc install=bash)"
type hydra_bash_completion > /dev/null || exit 1
COMP_LINE=$1; COMP_POINT=${#1}; set -- $1; COMP_CWORD=$(( $# - 1 ))
hydra_bash_completion
printf '%s\\n' "${COMPREPLY[@]}"
"""
NAMES = ["$(touch PWNED)", "`touch PWNED2`", "x;touch PWNED3", "a b", "$HOME", "plain.yaml", "ü"]


def completed(folder, line):
    """What bash proposes for a line, with a command of that name on the path."""
    bin_folder = folder / "bin"
    bin_folder.mkdir(exist_ok=True)
    command = bin_folder / "adbench"
    command.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m adbench "$@"\n')
    command.chmod(0o755)
    environment = {
        **os.environ,
        "PYTHON": sys.executable,
        "PATH": f"{bin_folder}{os.pathsep}{os.environ['PATH']}",
    }
    done = subprocess.run(
        ["bash", "-c", SCRIPT.replace("adbench() {", "unused() {"), "bash", line],
        cwd=folder / "files",
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.split("\n")[:-1]


@pytest.fixture
def files(tmp_path):
    (tmp_path / "files").mkdir()
    for name in NAMES:
        (tmp_path / "files" / name).touch()
    return tmp_path


@pytest.mark.fault("name", shows="inert")
def test_names_of_files_are_not_run(files):
    found = completed(files, "adbench run dataset.root=./")
    assert sorted(os.listdir(files / "files")) == sorted(NAMES)
    assert set(found) == {"dataset.root=./plain.yaml", "dataset.root=./ü"}


@pytest.mark.parametrize(
    ("line", "proposal"),
    [
        ("adbench r", "reproduce"),
        ("adbench run method=", "method=padim"),
        ("adbench run method.ra", "method.ratio="),
    ],
)
def test_commands_presets_and_settings_are_proposed(files, line, proposal):
    assert proposal in completed(files, line)


def test_a_wrong_word_before_ends_in_no_proposal(files):
    assert completed(files, "adbench run method=none_such method.ra") == [""]
