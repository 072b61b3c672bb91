"""The commands on NSD's folders: what they print, what they ask, and their exit codes."""

import subprocess
import sys

import pytest
from typer.testing import CliRunner

from minisd import cli_nsd
from minisd.cli import app
from minisd.nsd import download
from minisd.nsd.prepare import Region
from tests.nsd.s3_server import serving
from tests.nsd.simulate.tiny import tiny

DESIGN = "nsddata/experiments/nsd/nsd_expdesign.mat"
FILES = {DESIGN: b"x" * 2000, "nsddata/ppdata/subj01/behav/responses.tsv": b"y" * 500}


def run(*arguments, **options):
    return CliRunner().invoke(app, ["nsd", *map(str, arguments)], **options)


def test_check_tells_and_passes_the_verdict_on(tmp_path):
    result = run("check", tmp_path)
    assert (result.exit_code, result.stderr) == (0, "")
    assert "  missing  pictures" in result.stdout
    path = tmp_path / "nsddata_stimuli/stimuli/nsd/nsd_stimuli.hdf5"
    path.parent.mkdir(parents=True)
    path.write_bytes(b"none")
    result = run("check", tmp_path)
    assert result.exit_code == 1
    assert "  damaged  pictures" in result.stdout
    result = run("check", path)
    assert result.exit_code == 2
    assert result.stderr.startswith("minisd: root ")
    assert result.stderr.count("\n") == 1


@pytest.fixture
def server():
    with serving(dict(FILES)) as server:
        yield server


def fetch(root, server, *more, **options):
    asked = ("--subject", 1, "--what", "design", "--endpoint", server.url)
    return run("download", root, *asked, *more, **options)


def test_download_asks_first(tmp_path, server):
    root = tmp_path / "new"
    result = fetch(root, server, input="n\n")
    assert result.exit_code == 1
    assert f"    2.0 kB  {DESIGN}" in result.stdout
    assert f"2 of 2 files, 2.5 kB to be fetched into {root}" in result.stdout
    assert "https://naturalscenesdataset.org" in result.stdout
    assert server.asked == []
    result = fetch(root, server, input="y\n")
    assert result.exit_code == 0, result.output
    assert {name: (root / name).read_bytes() for name in FILES} == FILES
    assert fetch(root, server).stdout == "all 2 files are there\n"


def test_download_need_not_ask(tmp_path, server):
    assert fetch(tmp_path, server, "--yes").exit_code == 0
    assert (tmp_path / DESIGN).stat().st_size == 2000


def test_a_stopped_download_says_how_to_go_on(tmp_path, server, monkeypatch):
    def stop(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(download, "_pieces", stop)
    result = fetch(tmp_path, server, "--yes")
    assert result.exit_code == 130
    assert "the same command goes on" in result.stderr


@pytest.mark.parametrize(
    ("more", "told"),
    [
        (["--what", "beta"], "what is beta; it must be some of"),
        (["--what", "betas", "--sessions", "1-x"], "sessions are '1-x'; they must be like 1-10"),
        (["--what", "betas"], "the bucket has none of that"),
        (["--endpoint", "http://127.0.0.1:1"], "the bucket cannot be listed"),
    ],
)
def test_download_tells_in_a_line(tmp_path, server, monkeypatch, more, told):
    monkeypatch.setattr(download, "RETRIES", 0)
    result = fetch(tmp_path, server, "--yes", *more)
    assert result.exit_code == 2
    assert result.stderr.startswith("minisd: ")
    assert told in result.stderr
    assert result.stderr.count("\n") == 1


def test_a_missing_extra_is_named(tmp_path, server, monkeypatch):
    monkeypatch.setitem(sys.modules, "obstore.store", None)
    result = fetch(tmp_path, server)
    assert result.exit_code == 2
    assert 'pip install "minisd[brain]"' in result.stderr


def test_simulate_and_check_what_was_written(tmp_path):
    asked = ("simulate", tmp_path / "root", "--size", "tiny", "--subjects", 1, "--seed", 3)
    result = run(*asked)
    assert result.exit_code == 0, result.output
    assert result.stdout == f"{tmp_path / 'root'}\n"
    assert "simulating" in result.stderr
    found = run("check", tmp_path / "root")
    assert found.exit_code == 0
    assert "subject 1" in found.stdout
    assert "subject 2" not in found.stdout
    result = run(*asked[:-1], 4)
    assert result.exit_code == 2
    assert "holds a simulation of other settings" in result.stderr


def test_prepare_and_prepare_again(tmp_path):
    root, out = tmp_path / "root", tmp_path / "out"
    assert run("simulate", root, "--size", "tiny", "--subjects", 1).exit_code == 0
    regions = ("--region", "streams:early,ventral", "--region", "lh.floc-places")
    asked = ("prepare", root, out, "--subject", 1, *regions, "--sessions", "1-2", "--align", 4)
    result = run(*asked)
    assert result.exit_code == 0, result.output
    assert result.stdout.startswith(f"{out} is finished\nsubject 1, betas_fithrf_GLMdenoise_RR")
    assert "preparing" in result.stderr
    again = run(*asked)
    assert (again.exit_code, again.stderr) == (0, "")
    assert again.stdout == result.stdout.replace("is finished", "was finished already")
    result = run(*asked, "--repeats", 1)
    assert result.exit_code == 2
    assert result.stderr.startswith("minisd: ")
    assert "repeats was 3, and is 1 now" in result.stderr
    assert result.stderr.count("\n") == 1


@pytest.mark.parametrize("command", ["check", "prepare", "download"])
def test_a_root_that_is_a_file(tmp_path, command):
    root = tmp_path / "file"
    root.touch()
    more = {"check": (), "prepare": (tmp_path / "out",), "download": ()}[command]
    subject = () if command == "check" else ("--subject", 1)
    result = run(command, root, *more, *subject)
    assert result.exit_code == 2
    assert result.stderr == (
        f"minisd: root {root} is a file; "
        "it must be the folder in which nsddata, nsddata_betas, nsddata_stimuli lie\n"
    )
    assert not (tmp_path / "out").exists()


def test_regions():
    found = [
        cli_nsd._region(text)
        for text in ("nsdgeneral", "streams:early, ventral", "lh.floc-faces", "rh.a.b:c")
    ]
    assert found == [
        Region("nsdgeneral"),
        Region("streams", ("early", "ventral")),
        Region("floc-faces", None, "lh"),
        Region("a.b", ("c",), "rh"),
    ]
    for text in ("", "lh.", "streams:", "streams:early,,ventral"):
        with pytest.raises(ValueError, match=r"region is .*; it must be like nsdgeneral"):
            cli_nsd._region(text)


def test_sizes_and_subjects():
    assert cli_nsd._settings("tiny", 0, 0, None) == tiny()
    book = cli_nsd._settings("book", 5, 0, [1, 3])
    assert (book.seed, book.own, [s.number for s in book.subjects]) == (5, 1850, [1, 3])
    with pytest.raises(ValueError, match="size is 'large'; it must be one of book, sample, tiny"):
        cli_nsd._settings("large", 0, 0, None)
    with pytest.raises(
        ValueError, match=r"subjects are \[5\]; of size book there are \[1, 2, 3, 4\]"
    ):
        cli_nsd._settings("book", 0, 0, [5])


def test_numbers():
    assert cli_nsd.numbers("1-3, 7,2") == [1, 2, 3, 7]
    assert cli_nsd.numbers(None) is None
    for text in ("", "a", "3-", "0", "100", "5-3"):
        with pytest.raises(ValueError, match="sessions are"):
            cli_nsd.numbers(text)


def test_help_imports_nothing_heavy():
    code = (
        "import sys; from typer.testing import CliRunner; from minisd.cli import app;"
        "CliRunner().invoke(app, ['nsd', '--help']);"
        "print([n for n in ('torch', 'numpy', 'h5py', 'obstore') if n in sys.modules])"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.stdout.strip() == "[]"
