"""Users provisioned and opened through an admin who becomes them; one of them cannot log in at all."""

from __future__ import annotations

import json
import re
import time
import urllib.error
import urllib.request
from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from accounts import only_for, opened_home
from looker import Looker
from race import racing

from tests.machines import ROOT, wait_for

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.machines import Lab, Run

MACHINE, USER = "node12", "anna.maria-lena"
MAX, ANNA = "max-node12", f"{USER}-node12"
BOTH = f"{MAX},{ANNA}"
ADA = "ada-node12"  # the admin's own account, by her own login
# What Jupyter and IPython keep for the person.
THEIRS = re.compile(r"(\.ipython|\.jupyter|\.local/share)(/|$)|\.local(/state)?$")


def things(lab: Lab, user: str) -> dict[str, list[str]]:
    """Return type, mode and owner of what is in a home, but for the person's own; the home's user is called so."""
    rows = re.findall(r"^(.*) ([a-z]) ([0-7]+) (\S+) .*$", lab.prepared(MACHINE, "fingerprint.sh", user), re.MULTILINE)
    assert rows
    return {
        path: [kind, mode, owner.replace(user, "USER")] for path, kind, mode, owner in rows if not THEIRS.match(path)
    }


def expansion(lab: Lab) -> str:
    """Return the example of users and machines with what is the lab's own put in."""
    text = (ROOT / "inventory" / "accounts.example.yml").read_text()
    addresses = {name: lab.address(name) for name in ("node12", "node13")}
    bastion = yaml.safe_load(lab.inventory.read_text())["accounts"]["vars"]["bastion"]
    for example, ours in {
        "user: [max, mia]": f"user: [max, {USER}]",
        "{{ machine }}.example.org": f"{{{{ {addresses}[machine] }}}}",
        "-o ProxyJump=bianca@bastion.example.org:22522": f"-F {lab.ssh_config} -o ProxyJump={bastion}",
    }.items():
        assert text.count(example) == 1
        text = text.replace(example, ours)
    return text


def own_logins(lab: Lab) -> dict[str, Any]:
    """Return an inventory of accounts that are logged in to by their own users, and what holds for all of the lab."""
    told = yaml.safe_load(lab.inventory.read_text())["accounts"]["vars"]
    logins = {"node12": "ada", "node13": "robert"}
    machines = {name: {"hosts": {f"{user}-{name}": {"ansible_user": user}}} for name, user in logins.items()}
    return {"all": {"vars": {**told, "jupyter_locks": str(lab.directory / "locks")}, "children": machines}}


@pytest.fixture(scope="module")
def plain(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Lab:
    """The same lab for an Ansible that has no configuration of ours; both ways of login stand in one inventory."""
    folder = tmp_path_factory.mktemp("plain")
    (folder / "ansible.cfg").write_text("")
    inventory = folder / "inventory"
    inventory.mkdir()
    (inventory / "accounts.yml").write_text(expansion(lab))
    (inventory / "hosts.yml").write_text(yaml.safe_dump(own_logins(lab)))
    environment = {**lab.environment, "ANSIBLE_CONFIG": str(folder / "ansible.cfg")}
    return replace(lab, environment=environment, accounts=inventory)


@pytest.fixture(scope="module")
def made(plain: Lab) -> Iterator[tuple[Lab, dict[str, Any]]]:
    """Both accounts and the admin's own, from bare to running, with what was seen on the way."""
    plain.nbfleet("disconnect", MAX, ANNA)
    users = ("max", USER, "ada")
    for user in users:
        plain.bare(MACHINE, user)
    told: dict[str, Any] = {"began": int(time.time()), "bare": things(plain, USER)}
    with racing(plain, MACHINE, *users, "root") as race:
        told["foretold"] = plain.playbook("site", "--limit", f"{MAX},{ADA}", "--check")
        told["after foretelling"] = things(plain, "max")
        looker = Looker(plain, MACHINE, *users)
        looker.start()
        told["made"] = plain.playbook("site", "--limit", MACHINE)
        looker.end()
        told["temporary"] = looker.files
        told["up"] = plain.nbfleet("up", "-i", str(plain.inventory), f"physics:&{MACHINE}", "--json")
        told["raced"], told["changed by the race"] = race.words(), race.changed()
        race.bites(USER)
    yield plain, told
    plain.nbfleet("disconnect", MAX, ANNA)
    plain.bare(MACHINE, "ada")


@pytest.mark.parametrize(
    ("pattern", "accounts"),
    [
        ("node12", {MAX, ANNA, ADA}),
        (USER, {ANNA, f"{USER}-node13"}),
        ("physics", {MAX, ANNA, "max-node13", f"{USER}-node13"}),
    ],
)
def test_a_machine_a_user_and_a_group_are_just_their_accounts(plain: Lab, pattern: str, accounts: set[str]) -> None:
    said = plain.on(pattern, "echo $(id -un)-$(uname -n)")
    assert said.code == 0, said.out + said.err
    assert set(re.findall(r"^(\S+) \|", said.out, re.MULTILINE)) == accounts
    assert set(re.findall(r"^(\S+-node\d+)\r?$", said.out, re.MULTILINE)) == accounts


def test_a_dry_run_on_a_bare_account_foretells_and_changes_nothing(made: tuple[Lab, dict[str, Any]]) -> None:
    _, told = made
    assert told["foretold"].code == 0, told["foretold"].out
    assert "changed=0" not in told["foretold"].out
    assert told["after foretelling"] == told["bare"]


def test_both_accounts_of_a_machine_are_made_in_one_run(made: tuple[Lab, dict[str, Any]]) -> None:
    lab, told = made
    assert told["made"].code == 0, told["made"].out[-4000:]
    assert told["up"].code == 0, told["up"].err
    assert set(re.findall(r"^(\S+) +: ok=", told["made"].out, re.MULTILINE)) == {MAX, ANNA, ADA}
    accounts = told["up"].answer["data"]["accounts"]
    assert {(one["name"], one["state"], one["changed"]) for one in accounts} == {(MAX, "done", 0), (ANNA, "done", 0)}
    again = lab.playbook("site", "--limit", BOTH)
    assert again.out.count("changed=0") == 2
    assert "Install conda" not in again.out


def test_root_lets_each_linger_and_its_own_manager_has_the_service(made: tuple[Lab, dict[str, Any]]) -> None:
    lab, told = made
    log = lab.root(MACHINE, f"journalctl -q -o cat --since=@{told['began']} -t sudo").out
    for user in ("max", USER):
        assert re.search(rf"ada : .*USER=root ; COMMAND=.* loginctl enable-linger {re.escape(user)}\b", log), log
        service = f"systemctl --user --machine={user}@.host is-active nbfleet-jupyter"
        assert lab.root(MACHINE, f"loginctl show-user {user} -P Linger; {service}").out.split() == ["yes", "active"]


def test_nothing_in_a_temporary_folder_was_open_to_others_or_is_left(made: tuple[Lab, dict[str, Any]]) -> None:
    lab, told = made
    assert any("ansible_" in path for path in told["temporary"]), "the looker saw nothing at all"
    assert [path for path, mode in told["temporary"].items() if mode & 0o077] == []
    users = " -o ".join(f"-user {user}" for user in ("max", USER, "ada"))
    assert lab.root(MACHINE, f"find /tmp /var/tmp -mindepth 1 \\( {users} \\)").out == ""


def test_another_user_who_gets_in_the_way_at_every_moment_gets_nothing(made: tuple[Lab, dict[str, Any]]) -> None:
    _, told = made
    # The last is a folder of root's, and the other one a name that systemd draws for its services.
    elsewhere = re.compile("/run/user/|.*/systemd-private-")
    seen = [path for word, path in told["raced"] if word == "seen" and not elsewhere.match(path)]
    assert len(seen) > 3
    # No name comes again, nor one that differs by a number, so none can be waited for.
    assert [path for path, times in Counter(re.sub(r"\d+", "0", path) for path in seen).items() if times > 1] == []
    assert [deed for deed in told["raced"] if deed[0] not in ("seen", "planted")] == []
    assert told["changed by the race"] == ""


def test_what_is_there_is_what_a_login_of_the_user_would_have_made(made: tuple[Lab, dict[str, Any]]) -> None:
    lab, _ = made
    # Whoever solved for all has the channel's index, too.
    admin_s, own = (
        {path: what for path, what in things(lab, user).items() if not path.startswith("miniconda3/pkgs/cache")}
        for user in ("max", "ada")
    )
    assert len(own) > 1000
    assert {what[2] for what in own.values()} == {"USER"}
    assert admin_s == own


def written() -> dict[str, str]:
    """Return the paths below a home that docs/security.md says are written, with their modes; folders end with /."""
    table = (ROOT / "docs" / "security.md").read_text().partition("On the account")[2].partition("On the controller")[0]
    found = {}
    for names, modes in re.findall(r"^\| (.*?) \| (.*?) \|", table, re.MULTILINE):
        first, *more = re.findall(r"`([^`]+)`", names) or [""]
        folder = first.rpartition("/")[0]
        for name in (first, *(f"{folder}/{other}" for other in more)):
            own = re.search(rf"`{re.escape(name.rpartition('/')[2])}` (\d{{4}})", modes)
            mode = own or re.match(r"(\d{4})", modes)
            found[name] = mode[1] if mode else ""
    return found


def test_the_table_of_what_is_written_names_every_file_and_its_mode(made: tuple[Lab, dict[str, Any]]) -> None:
    lab, told = made
    table = written()
    assert len(table) > 20
    now = things(lab, "max")
    new = {f"~/{path}": what for path, what in now.items() if path not in told["bare"] and "miniconda3/" not in path}
    assert "~/.config/nbfleet/token" in new
    files = {path: f"0{mode}" for path, (kind, mode, _) in new.items() if kind == "f"}
    assert {path: mode for path, mode in files.items() if table.get(path) not in (mode, "")} == {}
    folders = {path: f"0{mode}" for path, (kind, mode, _) in new.items() if kind == "d" and path.endswith("/nbfleet")}
    assert {path: mode for path, mode in folders.items() if table.get(f"{path}/") != mode} == {}
    links = {path for path, (kind, *_) in new.items() if kind == "l"}
    assert links == {"~/.config/systemd/user/default.target.wants/nbfleet-jupyter.service"}


@pytest.mark.parametrize(
    "attempt",
    [
        "ls /home/max",
        "ls /run/user/$(id -u max)/nbfleet",
        "curl -sf --unix-socket /run/user/$(id -u max)/nbfleet/jupyter.sock http://localhost/max-node12/api",
        'cat "/proc/$(pgrep -u max -of "[j]upyter-notebook --config")/environ"',
    ],
)
def test_one_user_gets_nothing_of_another(made: tuple[Lab, dict[str, Any]], attempt: str) -> None:
    lab, _ = made
    only_for(lab, MACHINE, "max", USER, attempt)


def test_in_a_home_that_is_open_what_is_ours_is_not(made: tuple[Lab, dict[str, Any]]) -> None:
    lab, _ = made
    with opened_home(lab, MACHINE, "max"):
        only_for(lab, MACHINE, "max", USER, "cat /home/max/.config/nbfleet/token")
        only_for(lab, MACHINE, "max", USER, "cat /home/max/.local/state/nbfleet/receipt")
        readable = lab.as_user(MACHINE, USER, "find /home/max -type f -readable 2>/dev/null").out.split()
        writable = lab.as_user(MACHINE, USER, "find /home/max ! -type l -writable 2>/dev/null").out
    assert "/home/max/miniconda3/bin/conda" in readable  # the home was open
    assert [path for path in readable if "/nbfleet/" in path and not path.endswith(("/linger", ".json"))] == []
    assert writable == ""


def ask(url: str, token: str) -> int:
    request = urllib.request.Request(f"{url}api/status", headers={"Authorization": f"token {token}"})  # noqa: S310
    try:
        with urllib.request.urlopen(request, timeout=30) as reply:  # noqa: S310
            return int(reply.status)
    except urllib.error.HTTPError as error:
        return error.code


def test_both_are_open_at_once_each_with_its_own_token(made: tuple[Lab, dict[str, Any]]) -> None:
    lab, _ = made
    doors = []
    for name in (MAX, ANNA):
        done = lab.nbfleet("connect", name, "--background", "--no-browser", "--json")
        assert done.code == 0, done.err
        assert done.answer["data"]["bridge"] == "session"
        page, _, token = str(done.answer["data"]["url"]).partition("?token=")
        doors.append((page.removesuffix("tree").removesuffix("lab"), token))
    (url, token), (other_url, other_token) = doors
    assert [ask(url, token), ask(other_url, other_token)] == [200, 200]
    assert [ask(url, other_token), ask(other_url, token)] == [403, 403]
    told = lab.nbfleet("status", MAX, ANNA, "--json").answer["data"]["accounts"]
    assert [(one["state"], one["answers"]) for one in told] == [("active", True)] * 2
    assert lab.nbfleet("restart", MAX).code == 0
    logs = lab.nbfleet("logs", MAX, "-n", "500")
    assert "Jupyter Server" in logs.out
    assert token not in logs.out
    assert ask(url, token) == 200
    closed = lab.nbfleet("disconnect", MAX, "--json")
    assert closed.answer["data"]["disconnected"] == [MAX]
    assert ask(other_url, other_token) == 200


@pytest.fixture
def nora(plain: Lab, tmp_path: Path) -> Iterator[Callable[..., Run]]:
    """A run of the site for a user who does not exist."""
    admin = {"ansible_user": "ada", "ansible_become": True, "ansible_become_user": "nora"}
    file = tmp_path / "nora.json"
    file.write_text(json.dumps({MACHINE: {"hosts": {"nora-node12": admin}}}))
    yield lambda *words: plain.playbook("site", "-i", str(file), "--limit", "nora-node12", *words)
    plain.root(MACHINE, "userdel -r nora")


def test_a_user_who_does_not_exist_is_refused_or_made(plain: Lab, nora: Callable[..., Run]) -> None:
    refused = nora()
    assert refused.code == 2
    assert "there is no user nora on this machine; correct ansible_become_user, or have him made" in " ".join(
        refused.out.split()
    )
    assert "changed=0" in refused.out
    foretold = nora("-e", "user_account_create=true", "--check")
    assert foretold.code == 0, foretold.out
    assert "changed=1" in foretold.out
    assert plain.root(MACHINE, "id nora").code != 0
    done = nora("-e", "user_account_create=true", "--tags", "always")
    assert done.code == 0, done.out
    assert plain.root(MACHINE, "stat -c %U /home/nora").out == "nora\n"
    assert "changed=0" in nora("--tags", "always").out


def test_an_admin_who_may_not_is_told_so(plain: Lab) -> None:
    done = plain.playbook("site", "--limit", MAX, "-e", "ansible_user=robert")
    assert done.code == 2
    assert "sudo asks robert for a password before robert may become max" in " ".join(done.out.split())
    assert "changed=0" in done.out


def test_an_admin_who_has_to_give_a_password_gives_it_to_ansible(
    made: tuple[Lab, dict[str, Any]], tmp_path: Path
) -> None:
    lab, _ = made
    password, wrong = tmp_path / "password", tmp_path / "wrong"
    password.write_text("geheim\n")
    wrong.write_text("verkehrt\n")
    rule = "/etc/sudoers.d/lab"
    asked = lab.root(MACHINE, f"mv {rule} /root/rule; echo 'ada ALL=(ALL) ALL' >{rule}; echo ada:geheim | chpasswd")
    assert asked.code == 0, asked.err
    try:
        refused = lab.playbook("site", "--limit", MAX)
        corrected = lab.playbook("site", "--limit", MAX, "--become-password-file", str(wrong))
        done = lab.playbook("site", "--limit", MAX, "-e", "survey_trust=false", "--become-password-file", str(password))
    finally:
        lab.root(MACHINE, f"mv /root/rule {rule}; usermod --password '*' ada")
    assert refused.code == corrected.code == 2
    assert "sudo asks ada for a password before ada may become max; give it with" in " ".join(refused.out.split())
    assert "sudo does not accept the password that it was given for ada" in " ".join(corrected.out.split())
    assert done.code == 0, done.out[-4000:]
    assert "changed=0" in done.out


def test_removal_of_one_leaves_the_other_alone(made: tuple[Lab, dict[str, Any]]) -> None:
    lab, told = made
    done = lab.nbfleet("remove", "-i", str(lab.inventory), ANNA, "--yes")
    assert done.code == 0, done.err
    assert things(lab, USER) == told["bare"]
    assert lab.root(MACHINE, f"test -e /var/lib/systemd/linger/{USER}").code != 0
    wait_for("her processes to end", lambda: lab.root(MACHINE, f"pgrep -u {USER}").code, seconds=30)
    assert "changed=0" in lab.playbook("site", "--limit", MAX).out
