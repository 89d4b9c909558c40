"""Locks on the account: real archives over real HTTP, linked by the real linker into real environments."""

from __future__ import annotations

import hashlib
import http.server
import io
import json
import shutil
import sys
import tarfile
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import rattler
from pip._vendor import certifi
from role_code import keep_environment, load, load_shared

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

module = load("jupyter", "conda_environment")
locks, plan, specs = (load_shared(f"conda_{name}") for name in ("locks", "plan", "specs"))
fetching, packing, store = (load_shared(f"conda_{name}") for name in ("fetch", "pack", "store"))
WHEEL = "f" * 64


class Channel:
    """A channel on this machine that counts what is asked of it."""

    def __init__(self, folder: Path, port: int) -> None:
        self.folder, self.url = folder, f"http://127.0.0.1:{port}"
        self.asked: list[str] = []
        self.answers: dict[str, int] = {}
        self.once: dict[str, int] = {}

    def package(self, name: str, files: Mapping[str, str], version: str = "1.0", depends: tuple[str, ...] = ()) -> str:
        """Put a package there and return its line in a lock."""
        index = {"name": name, "version": version, "build": "0", "build_number": 0, "subdir": "noarch"}
        index |= {"noarch": "generic", "license": "MIT", "timestamp": 1700000000000, "constrains": ["other >1"]}
        paths = [
            {"_path": path, "path_type": "hardlink", "sha256": hashlib.sha256(text.encode()).hexdigest()}
            | {"size_in_bytes": len(text)}
            for path, text in files.items()
        ]
        inside = {
            "info/index.json": json.dumps({**index, "depends": list(depends)}),
            "info/paths.json": json.dumps({"paths": paths, "paths_version": 1}),
            "info/files": "\n".join(files),
            **files,
        }
        archive = self.folder / "noarch" / f"{name}-{version}-0.tar.bz2"
        archive.parent.mkdir(exist_ok=True)
        with tarfile.open(archive, "w:bz2") as tar:
            for path, text in inside.items():
                member = tarfile.TarInfo(path)
                member.size = len(text)
                tar.addfile(member, io.BytesIO(text.encode()))
        return f"{self.url}/noarch/{archive.name}#{hashlib.sha256(archive.read_bytes()).hexdigest()}"


@pytest.fixture
def channel(tmp_path: Path) -> Iterator[Channel]:
    folder = tmp_path / "channel"
    folder.mkdir()

    class Handler(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *args: Any) -> None:
            super().__init__(*args, directory=str(folder))

        def do_GET(self) -> None:
            served.asked.append(self.path)
            status = served.once.pop(self.path, None) or served.answers.get(self.path)
            self.send_error(status) if status else super().do_GET()

        def log_message(self, *_: Any) -> None:
            return

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        served = Channel(folder, server.server_address[1])
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield served
        server.shutdown()
        thread.join(10)


@pytest.fixture
def base(tmp_path: Path) -> Path:
    """A prefix with a Python, the unpacked linker, and a conda that tells its configuration and refuses to work."""
    prefix = tmp_path / "miniconda3"
    (prefix / "bin").mkdir(parents=True)
    (prefix / ".nbfleet").mkdir()
    (prefix / ".nbfleet" / f"rattler-{WHEEL[:12]}").symlink_to(Path(rattler.__file__).parents[1])
    (prefix / "ssl").mkdir()
    shutil.copy(certifi.where(), prefix / "ssl" / "cacert.pem")
    (prefix / "bin" / "python").write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    (prefix / "bin" / "conda").write_text(
        '#!/bin/sh\n[ "$1 $2 $3 $4" != "config --json --show proxy_servers" ] ||'
        ' exec echo \'{"ssl_verify": true, "proxy_servers": {}, "offline": false}\'\n'
        '[ ! -f "$0.does" ] || exec sh "$0.does" "$@"\n'
        'echo \'{"error": "conda was asked"}\'\nexit 1\n'
    )
    for program in (prefix / "bin").iterdir():
        program.chmod(0o755)
    return prefix


def run(base: Path, *lines: str, check: bool = False, **more: Any) -> dict[str, Any]:
    lock = "\n".join(["@EXPLICIT", *lines]) if lines else ""
    given: dict[str, Any] = {
        "lock": lock,
        "timeout": 60,
        "linker": "/nowhere/linker.whl",
        "linker_sha256": WHEEL,
        **more,
    }
    return keep_environment(base, check=check, **given)


def names(environment: Path) -> list[str]:
    return sorted(file.stem.rsplit("-", 2)[0] for file in (environment / "conda-meta").glob("*.json"))


@pytest.fixture
def environment(base: Path) -> Path:
    return base / "envs" / "jupyter"


class TestLinker:
    def test_a_lock_is_linked_without_conda_and_only_once(
        self, base: Path, channel: Channel, environment: Path
    ) -> None:
        lines = [
            channel.package("six", {"lib/six.py": "6\n"}),
            channel.package("app", {"bin/app": "a\n"}, depends=("six",)),
        ]
        foretold = run(base, *lines, check=True)
        assert not environment.exists()
        done = run(base, *lines)
        assert (done["linked_by"], done["linker_refused"], done["changed"]) == ("rattler", "", True)
        assert done["diff"] == foretold["diff"]
        assert sorted(path.name for path in environment.iterdir()) == ["bin", "conda-meta", "lib"]
        assert (environment / "lib" / "six.py").read_text() == "6\n"
        assert run(base, *lines)["changed"] is False

    def test_the_records_are_as_complete_as_conda_s(self, base: Path, channel: Channel, environment: Path) -> None:
        line = channel.package("app", {"bin/app": "a\n"}, depends=("six >=1",))
        run(base, line, channel.package("six", {"lib/six.py": "6\n"}), specs=["app"])
        record = json.loads((environment / "conda-meta" / "app-1.0-0.json").read_text())
        archive = channel.folder / "noarch" / "app-1.0-0.tar.bz2"
        wanted = {"depends": ["six >=1"], "constrains": ["other >1"], "license": "MIT", "timestamp": 1700000000000}
        wanted |= {"size": archive.stat().st_size, "md5": hashlib.md5(archive.read_bytes()).hexdigest()}  # noqa: S324
        wanted |= {"sha256": line.partition("#")[2], "url": line.partition("#")[0], "noarch": "generic"}
        wanted |= {"fn": archive.name, "channel": f"{channel.url}/noarch", "requested_specs": ["app"]}
        assert {key: record.get(key) for key in wanted} == wanted
        history = (environment / "conda-meta" / "history").read_text()
        assert f"+{channel.url}/noarch::app-1.0-0\n" in history
        assert "# update specs: ['app']\n" in history

    def test_one_download_serves_all_environments_and_conda(self, base: Path, channel: Channel) -> None:
        line = channel.package("six", {"lib/six.py": "6\n"})
        run(base, line)
        run(base, line, environment=str(base / "envs" / "other"))
        assert channel.asked == ["/noarch/six-1.0-0.tar.bz2"]
        known = json.loads((base / "pkgs" / "six-1.0-0" / "info" / "repodata_record.json").read_text())
        assert known["sha256"] == line.partition("#")[2]
        assert (base / "pkgs" / "six-1.0-0.tar.bz2").is_file()
        assert (base / "pkgs" / "urls.txt").read_text().split() == [line.partition("#")[0]]
        linked, cached = (
            folder / "lib" / "six.py" for folder in (base / "envs" / "other", base / "pkgs" / "six-1.0-0")
        )
        assert linked.samefile(cached)

    def test_a_new_lock_changes_the_environment_in_place(self, base: Path, channel: Channel, environment: Path) -> None:
        app, six = channel.package("app", {"bin/app": "1\n"}), channel.package("six", {"lib/six.py": "6\n"})
        needed = channel.package("needed", {"lib/needed": "n\n"})
        run(base, app, six, needed)
        # What the user adds: a package of the same kind and a file of no package.
        run(
            base, channel.package("mine", {"lib/mine": "m\n"}, depends=("needed",)), environment=str(base / "envs/mine")
        )
        shutil.copy(base / "envs" / "mine" / "conda-meta" / "mine-1.0-0.json", environment / "conda-meta")
        (environment / "lib" / "mine").write_text("m\n")
        (environment / "lib" / "own.txt").write_text("own\n")
        assert run(base, app, six, needed)["changed"] is False
        done = run(base, channel.package("app", {"bin/app": "2\n"}, version="2.0"))
        assert (done["diff"][0]["before"], done["diff"][0]["after"]) == ("app-1.0-0\nsix-1.0-0\n", "app-2.0-0\n")
        assert names(environment) == ["app", "mine", "needed"]
        assert (environment / "bin" / "app").read_text() == "2\n"
        assert not (environment / "lib" / "six.py").exists()
        assert (environment / "lib" / "own.txt").read_text() == "own\n"

    def test_what_was_taken_out_of_the_cache_is_fetched_again(
        self, base: Path, channel: Channel, environment: Path
    ) -> None:
        line = channel.package("six", {"lib/six.py": "6\n"})
        run(base, line, environment=str(base / "envs" / "other"))
        (base / "pkgs" / "six-1.0-0" / "lib" / "six.py").unlink()
        assert run(base, line)["linked_by"] == "rattler"
        assert (environment / "lib" / "six.py").read_text() == "6\n"

    def test_an_update_that_was_killed_is_continued(self, base: Path, channel: Channel, environment: Path) -> None:
        line = channel.package("six", {"lib/six.py": "6\n", "lib/more.py": "7\n"})
        run(base, line)
        (environment / "lib" / "more.py").unlink()
        assert run(base, line)["changed"] is False  # nobody said so, and the records are whole
        module.Environment(environment, base).begun_file.write_text("install\n")
        assert run(base, line)["changed"] is True
        assert (environment / "lib" / "more.py").read_text() == "7\n"
        assert run(base, line)["changed"] is False

    def test_a_missing_linker_is_asked_for_and_nothing_is_changed(self, base: Path, channel: Channel) -> None:
        before = sorted(base.rglob("*"))
        done = run(base, channel.package("six", {"lib/six.py": "6\n"}), linker_sha256="e" * 64)
        assert (done["changed"], done["linker_missing"]) == (True, True)
        assert sorted(base.rglob("*")) == sorted([*before, base / ".nbfleet-conda.lock"])

    @pytest.mark.parametrize(
        ("linker", "words"),
        [
            ({"linker": ""}, "no linker was given"),
            ({"linker_sha256": "0" * 64}, "the linker does not run on this machine (ImportError: too old)"),
        ],
    )
    def test_where_the_linker_cannot_run_conda_is_asked_and_the_reason_told(
        self, base: Path, channel: Channel, environment: Path, linker: dict[str, Any], words: str
    ) -> None:
        broken = base / ".nbfleet" / f"rattler-{'0' * 12}" / "rattler"
        broken.mkdir(parents=True)
        (broken / "__init__.py").write_text("raise ImportError('too old')\n")
        line = channel.package("six", {"lib/six.py": "6\n"})
        (base / "bin" / "conda.does").write_text(
            f"mkdir -p {environment}/conda-meta && cd {environment}/conda-meta && touch history\n"
            f'echo \'{{"sha256": "{line.partition("#")[2]}"}}\' >six-1.0-0.json\n'
        )
        done = run(base, line, **linker)
        assert (done["linked_by"], done["linker_refused"]) == ("conda", words)


class TestDownloads:
    @pytest.mark.parametrize(
        ("status", "words"),
        [
            (404, r"the channel has no http://\S+/noarch/six-1.0-0.tar.bz2 \(HTTP 404\); correct the channels"),
            (410, r"answered HTTP 410"),
        ],
    )
    def test_a_refusal_of_the_channel_is_one_sentence_and_changes_nothing(
        self, base: Path, channel: Channel, status: int, words: str, environment: Path
    ) -> None:
        run(base, channel.package("app", {"bin/app": "1\n"}))
        channel.answers["/noarch/six-1.0-0.tar.bz2"] = status
        app, six = (
            channel.package("app", {"bin/app": "2\n"}, version="2.0"),
            channel.package("six", {"lib/six.py": "6\n"}),
        )
        with pytest.raises(specs.Refusal, match=words):
            run(base, app, six)
        assert (environment / "bin" / "app").read_text() == "1\n"
        assert [path.name for path in base.iterdir() if "begun" in path.name] == []
        assert list((base / "pkgs").glob("*.nbfleet-*")) == []

    def test_a_passing_failure_is_tried_again(self, base: Path, channel: Channel) -> None:
        line = channel.package("six", {"lib/six.py": "6\n"})
        path = "/noarch/six-1.0-0.tar.bz2"
        channel.once[path] = 503
        assert run(base, line)["linked_by"] == "rattler"
        assert channel.asked == [path, path]

    def test_another_content_than_its_hash_says_is_refused_and_forgotten(self, base: Path, channel: Channel) -> None:
        line = channel.package("six", {"lib/six.py": "6\n"})
        channel.package("six", {"lib/six.py": "evil\n"})
        with pytest.raises(specs.Refusal, match=r"six-1.0-0.tar.bz2 is not what its hash says; run again"):
            run(base, line)
        assert not list((base / "pkgs").glob("six*"))

    def test_nobody_who_answers_is_one_sentence(self, base: Path) -> None:
        with pytest.raises(
            specs.Refusal, match=r"conda cannot reach http://127.0.0.1:1/noarch/six-1.0-0.tar.bz2; check"
        ):
            run(base, f"http://127.0.0.1:1/noarch/six-1.0-0.tar.bz2#{'a' * 64}")

    def test_a_channel_that_wants_credentials_is_left_to_conda(self, base: Path, channel: Channel) -> None:
        channel.answers["/noarch/six-1.0-0.tar.bz2"] = 401
        with pytest.raises(specs.Refusal, match="conda was asked"):
            run(base, channel.package("six", {"lib/six.py": "6\n"}))

    def test_certificates_that_cannot_be_read_are_left_to_conda(self, base: Path, channel: Channel) -> None:
        conda = base / "bin" / "conda"
        conda.write_text(conda.read_text().replace('"ssl_verify": true', '"ssl_verify": "/no/such.pem"'))
        with pytest.raises(specs.Refusal, match="conda was asked"):
            run(base, channel.package("six", {"lib/six.py": "6\n"}))

    def test_conda_s_proxies_win_over_the_surroundings_and_the_special_over_the_general(self) -> None:
        conda = {"http": "http://p:1", "http://near.example": "http://q:2"}
        assert fetching.proxies_for("http://far.example/x", conda, {"http": "http://e:3"})["http"] == "http://p:1"
        assert fetching.proxies_for("http://near.example/x", conda, {})["http"] == "http://q:2"
        assert (
            fetching.proxies_for("http://near.example/x", {**conda, "http://near.example": ""}, {"http": "e:3"}) == {}
        )
        assert fetching.proxies_for("https://far.example/x", conda, {"https": "http://e:3"})["https"] == "http://e:3"


class TestStore:
    """The controller's side: a cache, or a bundle."""

    def test_each_package_is_downloaded_once_and_what_is_damaged_again(self, channel: Channel, tmp_path: Path) -> None:
        lines = [channel.package("six", {"lib/six.py": "6\n"}), channel.package("app", {"bin/app": "1\n"})]
        packages = locks.lock_packages("\n".join(["@EXPLICIT", *lines]))
        cache, bundle = tmp_path / "cache", tmp_path / "bundle"
        for _ in range(2):
            store.provide(cache, packages, seconds=30)
        store.provide(bundle, packages, besides=cache, seconds=30)
        assert sorted(channel.asked) == ["/noarch/app-1.0-0.tar.bz2", "/noarch/six-1.0-0.tar.bz2"]
        assert store.lacking(bundle, packages) == []
        (bundle / "packages" / "noarch" / "six-1.0-0.tar.bz2").write_bytes(b"damaged")
        assert store.lacking(bundle, packages) == ["six-1.0-0.tar.bz2"]
        store.provide(bundle, packages, seconds=30)
        assert (channel.asked[2:], store.lacking(bundle, packages)) == (["/noarch/six-1.0-0.tar.bz2"], [])

    def test_the_sums_name_every_file_but_what_is_half_made(self, tmp_path: Path) -> None:
        for name in ("locks/linux-64.txt", "linker.whl", ".fetch-x/linker.whl", "installers/.x.sh.nbfleet/part"):
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_text(name)
        assert (store.note_sums(tmp_path), store.note_sums(tmp_path)) == (True, False)
        lines = (tmp_path / "SHA256SUMS").read_text().splitlines()
        assert [line[64:] for line in lines] == ["  linker.whl", "  locks/linux-64.txt"]
        assert lines[0][:64] == hashlib.sha256(b"linker.whl").hexdigest()

    def test_what_this_computer_cannot_reach_is_said_of_this_computer(self, tmp_path: Path) -> None:
        packages = locks.lock_packages(f"@EXPLICIT\nhttp://127.0.0.1:1/noarch/six-1.0-0.tar.bz2#{'a' * 64}")
        with pytest.raises(specs.Refusal, match=r"^this computer cannot reach http://127.0.0.1:1/\S+; check that"):
            store.provide(tmp_path, packages, seconds=30)


class TestSentPackages:
    """Packages that come from the controller."""

    def test_what_the_cache_lacks_is_named_and_then_taken_without_a_download(
        self, base: Path, channel: Channel, environment: Path, tmp_path: Path
    ) -> None:
        six, app = channel.package("six", {"lib/six.py": "6\n"}), channel.package("app", {"bin/app": "1\n"})
        run(base, six)
        channel.asked.clear()
        wanted = run(base, six, app, network="none")
        assert [package.stem for package in wanted["packages_missing"]] == ["app-1.0-0"]
        assert (wanted["changed"], names(environment)) == (True, ["six"])
        archive = channel.folder / "noarch" / "app-1.0-0.tar.bz2"
        stranger = tmp_path / "stranger"
        stranger.write_text("not asked for")
        packing.pack({archive.name: archive, "../evil": stranger}, tmp_path / "packages-x.tar")
        done = run(base, six, app, network="none", packages=str(tmp_path / "packages-x.tar"))
        assert (done["linked_by"], done["packages_missing"], channel.asked) == ("rattler", [], [])
        assert names(environment) == ["app", "six"]
        assert not list(tmp_path.glob("packages-*"))
        assert not (base / "evil").exists()
        assert run(base, six, app, network="none")["changed"] is False

    @pytest.mark.parametrize(
        ("content", "words"),
        [(b"evil", "did not come as its hash says; run again"), (None, "the packages did not arrive whole")],
        ids=["another content", "cut short"],
    )
    def test_what_did_not_arrive_as_it_was_sent_is_refused(
        self, base: Path, channel: Channel, environment: Path, tmp_path: Path, content: bytes | None, words: str
    ) -> None:
        line = channel.package("six", {"lib/six.py": "6\n" * 9000})
        archive, sent = channel.folder / "noarch" / "six-1.0-0.tar.bz2", tmp_path / "packages-x.tar"
        if content:
            archive.write_bytes(content)
        packing.pack({archive.name: archive}, sent)
        if not content:
            sent.write_bytes(sent.read_bytes()[:600])
        with pytest.raises(specs.Refusal, match=words):
            run(base, line, network="index", packages=str(sent))
        assert not environment.exists()
        assert channel.asked == []

    def test_without_a_network_nothing_is_solved_for(self, base: Path, environment: Path) -> None:
        with pytest.raises(specs.Refusal, match="to have six takes a solve, and that a network"):
            run(base, specs=["six"], network="none")
        assert not environment.exists()


@pytest.fixture
def theirs(base: Path, channel: Channel, environment: Path, tmp_path: Path) -> tuple[str, Path]:
    """A line of a lock, and a cache that has its package; the account itself has nothing yet."""
    line = channel.package("six", {"lib/six.py": "6\n"})
    run(base, line)
    shared = (base / "pkgs").rename(tmp_path / "shared")
    shutil.rmtree(environment)
    channel.asked.clear()
    return line, shared


class TestOtherCaches:
    def test_a_second_account_links_what_the_first_one_has_and_downloads_nothing(
        self, base: Path, channel: Channel, environment: Path, theirs: tuple[str, Path]
    ) -> None:
        line, shared = theirs
        assert run(base, line, caches=[str(shared), "/nowhere"])["linked_by"] == "rattler"
        assert channel.asked == []
        assert (environment / "lib" / "six.py").samefile(shared / "six-1.0-0" / "lib" / "six.py")

    def test_where_links_are_forbidden_files_are_copied(
        self,
        base: Path,
        channel: Channel,
        environment: Path,
        theirs: tuple[str, Path],
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        line, shared = theirs

        def forbidden(*_: Any, **__: Any) -> None:
            raise PermissionError

        monkeypatch.setattr("os.link", forbidden)
        assert run(base, line, caches=[str(shared)])["linked_by"] == "rattler"
        assert channel.asked == []
        assert not (environment / "lib" / "six.py").samefile(shared / "six-1.0-0" / "lib" / "six.py")

    def test_an_altered_file_is_not_taken_from_there(
        self, base: Path, channel: Channel, environment: Path, tmp_path: Path
    ) -> None:
        line = channel.package("six", {"lib/six.py": "6\n"})
        run(base, line)
        shared = tmp_path / "shared"
        shutil.copytree(base / "pkgs", shared)
        (base / "pkgs" / "six-1.0-0.tar.bz2").unlink()
        (shared / "six-1.0-0" / "lib" / "six.py").write_text("evil\n")
        (environment / "lib" / "six.py").write_text("evil\n")
        channel.asked.clear()
        run(base, line, caches=[str(shared)], verify=True)
        assert (environment / "lib" / "six.py").read_text() == "6\n"
        assert channel.asked == ["/noarch/six-1.0-0.tar.bz2"]

    def test_a_cache_that_others_can_write_is_refused(self, base: Path, channel: Channel, tmp_path: Path) -> None:
        (tmp_path / "open").mkdir()
        (tmp_path / "open").chmod(0o777)
        with pytest.raises(specs.Refusal, match="others than its owner can write there; correct jupyter_package"):
            run(base, channel.package("six", {"lib/six.py": "6\n"}), caches=[str(tmp_path / "open")])


class TestForeseen:
    def test_a_dry_run_knows_the_revision_that_a_lock_leads_to(
        self, base: Path, channel: Channel, environment: Path
    ) -> None:
        six, app = channel.package("six", {"lib/six.py": "6\n"}), channel.package("app", {"bin/app": "a\n"})
        first = run(base, six, app)["revision"]
        (environment / "conda-meta" / "six-1.0-0.json").unlink()
        # The very packages come back, and nothing that runs needs to start again.
        assert run(base, six, app, check=True)["revision"] == first
        assert run(base, six, app)["revision"] == first
        foretold = run(base, six, check=True)
        assert foretold["changed"] is True
        assert foretold["revision"] == run(base, six)["revision"] != first


class TestVerify:
    def test_an_altered_file_is_foretold_named_and_restored_and_its_package_alone(
        self, base: Path, channel: Channel, environment: Path
    ) -> None:
        lines = [
            channel.package("six", {"lib/six.py": "6\n", "lib/b": "b\n"}),
            channel.package("app", {"bin/app": "a\n"}),
        ]
        run(base, *lines)
        (environment / "lib" / "own.py").write_text("mine\n")
        untouched = (environment / "bin" / "app").stat().st_ctime_ns
        # Over the hard link: the cached copy is altered, too.
        (environment / "lib" / "six.py").write_text("evil\n")
        (environment / "lib" / "b").unlink()
        assert (base / "pkgs" / "six-1.0-0" / "lib" / "six.py").read_text() == "evil\n"
        foretold = run(base, *lines, verify=True, check=True)
        done = run(base, *lines, verify=True)
        for answer in (foretold, done):
            assert answer["diff"][0]["before"] == "six: lib/b was altered\nsix: lib/six.py was altered\n"
        assert foretold["revision"] == done["revision"] != ""
        assert (environment / "lib" / "six.py").read_text() == "6\n"
        assert (environment / "lib" / "b").read_text() == "b\n"
        assert (base / "pkgs" / "six-1.0-0" / "lib" / "six.py").read_text() == "6\n"
        assert (environment / "bin" / "app").stat().st_ctime_ns == untouched
        assert run(base, *lines, verify=True)["changed"] is False
        assert (environment / "lib" / "own.py").exists()

    def test_without_a_lock_conda_is_asked_for_the_very_package(
        self, base: Path, channel: Channel, environment: Path
    ) -> None:
        line = channel.package("six", {"lib/six.py": "6\n"})
        run(base, line)
        (environment / "lib" / "six.py").write_text("evil\n")
        (base / "bin" / "conda").write_text(
            '#!/bin/sh\nfor last; do :; done\necho "$@" >"$0.asked"; cat "$last" >>"$0.asked"\nexit 1\n'
        )
        with pytest.raises(specs.Refusal):
            run(base, verify=True)
        asked = (base / "bin" / "conda.asked").read_text()
        assert "install -y --json" in asked
        assert "--force-reinstall" in asked
        assert asked.endswith(f"@EXPLICIT\n{line}\n")

    def test_what_another_hand_made_is_not_examined(self, base: Path, channel: Channel, environment: Path) -> None:
        line = channel.package("six", {"lib/six.py": "6\n"})
        run(base, line)
        (environment / "conda-meta" / "nbfleet").unlink()
        (environment / "lib" / "six.py").write_text("evil\n")
        assert run(base, line, verify=True)["changed"] is False


class TestLockText:
    def record(self, name: str, *depends: str, **more: Any) -> dict[str, Any]:
        url = f"http://c/linux-64/{name}-1-0.conda"
        return {"name": name, "version": "1", "build": "0", "url": url, "sha256": "a" * 64, "depends": depends, **more}

    def test_it_names_the_platform_the_oldest_system_and_every_package_by_name(self) -> None:
        records = [
            self.record("zlib", "__glibc >=2.17,<3.0.a0"),
            self.record("app", "__glibc >=2.28", "zlib", sha256=None, md5="b" * 32),
        ]
        assert locks.explicit_text(records, "linux-64").splitlines() == [
            "# platform: linux-64",
            "# glibc: 2.28",
            "@EXPLICIT",
            f"http://c/linux-64/app-1-0.conda#{'b' * 32}",
            f"http://c/linux-64/zlib-1-0.conda#{'a' * 64}",
        ]

    def test_where_nothing_asks_for_a_glibc_none_is_named(self) -> None:
        assert "glibc" not in locks.explicit_text([self.record("app")], "linux-64")

    def test_a_lock_for_a_newer_system_is_refused_with_both_versions(self) -> None:
        text = locks.explicit_text([self.record("app", "__glibc >=2.28")], "linux-64")
        assert locks.parse_lock(text, "linux-64", "2.28") == {"app-1-0": "a" * 64}
        with pytest.raises(specs.Refusal, match=r"needs glibc 2\.28 and this machine has 2\.17; give one"):
            locks.parse_lock(text, "linux-64", "2.17")

    def test_a_solve_is_answered_as_a_lock_with_the_cache_s_hashes(self, base: Path) -> None:
        linked = {"name": "six", "dist_name": "six-1-0", "base_url": "http://c", "platform": "noarch"}
        fetched = self.record("app", "six")
        known = base / "pkgs" / "six-1-0" / "info" / "repodata_record.json"
        known.parent.mkdir(parents=True)
        known.write_text(json.dumps(self.record("six", url="http://elsewhere/six-1-0.conda", fn="six-1-0.conda")))
        answer = {
            "success": True,
            "actions": {"FETCH": [fetched], "LINK": [linked, {"name": "app", "dist_name": "app-1-0"}]},
        }
        (base / "bin" / "conda.does").write_text(f"echo '{json.dumps(answer)}'\n")
        done = keep_environment(base, state="solved", specs=["app"], channels=["c"], timeout=20)
        assert done["changed"] is False
        assert done["explicit"].splitlines()[1:] == [
            "@EXPLICIT",
            f"http://c/linux-64/app-1-0.conda#{'a' * 64}",
            f"http://c/noarch/six-1-0.conda#{'a' * 64}",
        ]

    def test_what_is_kept_is_pinned_but_for_what_shall_be_updated_or_does_not_do_any_more(self) -> None:
        keep = "@EXPLICIT\n" + "".join(
            f"http://c/noarch/{name}-1-0.conda#{'a' * 64}\n" for name in ("app", "six", "zlib")
        )
        pins = load_shared("conda_solve").pins
        assert pins(keep, ["six"], ["zlib>=2"], "linux-64") == ["app=1=0"]
        assert pins("", [], ["zlib"], "linux-64") == []


def test_what_the_user_s_packages_need_does_not_go() -> None:
    details = {
        name: {"depends": depends}
        for name, depends in {"mine": ["a >=1"], "a": ["b[version='>1']"], "b": [], "c": []}.items()
    }
    assert plan.outgoing(details, ["a", "b", "c"], []) == ["c"]
    assert plan.outgoing(details, ["a", "b", "c"], ["c"]) == []
