"""Values with signs that Hydra's grammar or a shell would read otherwise."""

import shlex
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adbench.config.compose import Configs
from adbench.config.quoting import parse, quoted, readable
from adbench.errors import AdbenchError

PATHS = ["a b", "a=b", "/x/(1)", "a#b", "a&b", "Größe", "~/x", "it's", "100%", "a;b", "a!b", "a|b"]
NEEDS_BASH = pytest.mark.skipif(sys.platform == "win32", reason="bash")


@pytest.mark.parametrize("text", PATHS)
def test_a_path_is_read_as_it_is_typed(text):
    assert Configs().compose([f"results={text}"]).results == text


@pytest.mark.parametrize("text", [*PATHS, "a,b", "[1]", "{x", "'", '"', "a'b,c", "${x", "\\"])
def test_a_quoted_path_is_read_too(text):
    assert parse(f"results={quoted(text)}").value() == text


@given(st.text(st.characters(blacklist_categories=["Cs", "Cc"]), min_size=1, max_size=12))
def test_whatever_is_quoted_is_one_text(text):
    assert parse(f"key={quoted(text)}").value() == text


@pytest.mark.parametrize("word", ["a=1,2", "a=[1,2]", "a=choice(1,2)", "a=null", "a=1e3", "+a=b c"])
def test_what_hydra_reads_stays_as_it_is(word):
    assert readable([word]) == [word]


@pytest.mark.parametrize(
    ("word", "message"),
    [
        (
            "results=a(1),b",
            "results=a(1),b: cannot be read; a text with other signs than letters, ",
        ),
        ("results='a", """is quoted twice, for Hydra and for the shell: "results='a'\""""),
        ("x=[ü]", """x=[ü]: cannot be read; a text of a list .*"x=['a b','c']\""""),
        ("x=[1", "x=[1: a bracket of the list is missing"),
        ("b", "b: not key=value; a value with spaces is quoted together with its key"),
    ],
)
@pytest.mark.fault("YAML", shows="error")
def test_what_cannot_be_read_is_named_with_how_to_quote_it(word, message):
    with pytest.raises(AdbenchError) as error:
        parse(readable([word])[0])
    start, _, end = message.partition(".*")
    assert start in str(error.value)
    assert end in str(error.value)


@NEEDS_BASH
def test_what_a_message_proposes_works_in_a_shell():
    """The words in the quotes of the message, typed in bash, are read as one text."""
    typed = "results=a (1),b#&ü"
    with pytest.raises(AdbenchError) as error:
        parse(typed)
    proposed = str(error.value).rpartition("shell: ")[2]
    line = f"{shlex.quote(sys.executable)} -c 'import sys; print(sys.argv[1])' {proposed}"
    done = subprocess.run(["bash", "-c", line], capture_output=True, text=True, check=True)
    assert parse(done.stdout.removesuffix("\n")).value() == "a (1),b#&ü"
