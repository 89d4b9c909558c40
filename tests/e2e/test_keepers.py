"""What keeps Jupyter running where an account may not linger, and where no systemd is: real machines made that way."""

from __future__ import annotations

import json
import shlex
from typing import TYPE_CHECKING

import pytest
from accounts import open_and_see, remove, told, up

from tests.machines import wait_for

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.machines import Lab

pytestmark = pytest.mark.sampled("worlds")
PLAIN = "rita-plain13"  # no systemd, no tmux; cron
FORBIDDEN = "leo-node12"  # systemd, and polkit says no to lingering; tmux
SUDOER = "sam-node12"  # the same, and sudo without a password
TOKEN = ".config/nbfleet/token"  # noqa: S105 - its place

NO_LINGER = """
cat >/etc/polkit-1/rules.d/10-lab.rules <<'RULE'
polkit.addRule(function(action, subject) {
  if (action.id.indexOf("org.freedesktop.login1.set-") === 0 && ["leo", "sam"].indexOf(subject.user) !== -1)
    return polkit.Result.NO;
});
RULE
echo 'sam ALL=(root) NOPASSWD: ALL' >/etc/sudoers.d/sam
systemctl restart polkit
"""
KILLING = """
mkdir -p /etc/systemd/logind.conf.d
printf '[Login]\\nKillUserProcesses=yes\\n' >/etc/systemd/logind.conf.d/lab.conf
systemctl restart systemd-logind
"""
LINGER = "rm -f /etc/polkit-1/rules.d/10-lab.rules /etc/sudoers.d/sam; systemctl restart polkit"

VERBS = {
    "status": [],
    "restart": [],
    "logs": ["-n", "5"],
    "connect": ["--background", "--no-browser"],
}


@pytest.fixture(scope="module")
def strict(lab: Lab) -> Iterator[Lab]:
    """The lab while polkit refuses two users to linger."""
    made = lab.root("node12", NO_LINGER)
    assert made.code == 0, made.err
    yield lab
    lab.root("node12", LINGER)


@pytest.fixture(scope="module")
def plain(lab: Lab) -> Lab:
    """The lab with the account on the machine without systemd provisioned."""
    return up(lab, PLAIN)


@pytest.fixture(scope="module")
def forbidden(strict: Lab) -> Lab:
    """The lab with the account that may not linger provisioned."""
    return up(strict, FORBIDDEN)


@pytest.fixture(scope="module")
def sudoer(strict: Lab) -> Lab:
    """The lab with the account that may not linger and may become root provisioned."""
    return up(strict, SUDOER, "-e", "jupyter_service_root=true")


def server(lab: Lab, machine: str, user: str) -> str:
    """Return the process number of a user's Jupyter; empty when there is none."""
    found = lab.root(machine, f"pgrep -u {user} -f 'bin/jupyter-notebook --config' | head -n 1")
    return found.out.strip()


def every_verb_names(lab: Lab, account: str, keeper: str, by: str | None) -> None:
    """See that the four verbs name the keeper, to programs and to people."""
    title = f"{keeper} ({by})" if by else keeper
    lab.nbfleet("disconnect", account)
    for verb, words in VERBS.items():
        told_so = lab.nbfleet(verb, account, *words, "--json")
        assert told_so.code == 0, told_so.out + told_so.err
        data = told_so.answer["data"]
        found = data["accounts"][0] if "accounts" in data else data
        assert (found["name"], found["keeper"], found["by"]) == (account, keeper, by), verb
        shown = lab.nbfleet(verb, account, *words)
        said = " ".join((shown.out + shown.err).split())
        assert (f" {title} active" if verb == "status" else f"kept by {title}") in said, said[-1000:]


def log_out(lab: Lab, machine: str, user: str) -> None:
    """End every login of a user, the driver's and Ansible's shared connections too."""
    lab.nbfleet("disconnect")
    gone = lab.root(machine, f"pkill -u {user} -x sshd; pkill -u {user} -x sshd-session; pkill -u {user} -x systemd; :")
    assert gone.code == 0
    wait_for("the logins to end", lambda: lab.root(machine, f"pgrep -u {user} -x 'sshd|sshd-session'").code == 1)


class TestWithoutSystemd:
    @pytest.mark.parametrize(
        "put",
        [
            "mkdir -m 0700 /tmp/eve; ln -s /tmp/eve {}",
            pytest.param("mkdir -m 0777 {}", marks=pytest.mark.full),
            pytest.param("touch {}", marks=pytest.mark.full),
        ],
    )
    def test_what_another_user_put_at_the_place_of_its_runtime_is_refused(self, lab: Lab, put: str) -> None:
        place = f"/tmp/nbfleet-run-{lab.root('plain13', 'id -u rita').out.strip()}"  # noqa: S108 - on the account
        planted = lab.root("plain13", f"useradd eve; runuser -u eve -- sh -c '{put.format(place)}'")
        assert planted.code == 0, planted.err
        try:
            refused = lab.nbfleet("up", "-i", str(lab.inventory), PLAIN, "--json")
            found = lab.root("plain13", f"find {place}/ /tmp/eve -mindepth 1 2>/dev/null; pgrep -u rita -f jupyter").out
        finally:
            lab.root("plain13", f"rm -rf {place} /tmp/eve; userdel eve")
        assert refused.code == 5, refused.out
        message = refused.answer["error"]["message"]
        assert f"{place} belongs to somebody else; ask an admin to remove it" in message
        assert found == ""

    def test_every_verb_does_its_work_and_names_the_keeper(self, plain: Lab) -> None:
        assert plain.root("plain13", "test -d /run/systemd/system").code == 1
        every_verb_names(plain, PLAIN, "session", "setsid")
        found = told(plain, PLAIN)
        assert (found["keeper"], found["state"], found["answers"]) == ("session", "active", True)
        assert found["memory"] > 20_000_000
        open_and_see(plain, PLAIN)
        assert "Jupyter Server" in plain.nbfleet("logs", PLAIN, "-n", "500").out
        before = server(plain, "plain13", "rita")
        done = plain.nbfleet("restart", PLAIN)
        assert done.code == 0, done.err
        assert server(plain, "plain13", "rita") not in ("", before)

    def test_it_outlives_the_login_and_a_second_run_changes_nothing(self, plain: Lab) -> None:
        before = server(plain, "plain13", "rita")
        log_out(plain, "plain13", "rita")
        assert server(plain, "plain13", "rita") == before != ""
        told_so = plain.nbfleet("up", "-i", str(plain.inventory), PLAIN)
        assert "kept by session" in told_so.out
        again = plain.playbook("site", "--limit", PLAIN, "-e", "survey_trust=false")
        assert again.code == 0, again.out
        assert "changed=0" in again.out
        assert "kept by session, because the machine runs without systemd" in " ".join(again.out.split())
        assert server(plain, "plain13", "rita") == before

    def test_a_server_that_dies_comes_back_and_leaves_no_kernel_behind(self, plain: Lab) -> None:
        open_and_see(plain, PLAIN)
        before = server(plain, "plain13", "rita")
        assert plain.root("plain13", "pgrep -u rita -f ipykernel_launcher").code == 0
        plain.root("plain13", f"kill -KILL {before}")
        wait_for("another server", lambda: server(plain, "plain13", "rita") not in ("", before))
        assert plain.root("plain13", "pgrep -u rita -f ipykernel_launcher").code == 1
        wait_for("it to answer", lambda: told(plain, PLAIN)["answers"] is True)

    def test_a_number_that_belongs_to_another_process_now_is_left_alone(self, plain: Lab) -> None:
        # The supervisor is killed without a word, and its noted number is another program's.
        # With nothing of the session's open, whose end would wait for it.
        victim = (
            "setsid -f sleep 600 </dev/null >/dev/null 2>&1; "
            "sed -i s/^pid=.*/pid=$(pgrep -u rita -x sleep)/ /tmp/nbfleet-run-*/keeper"
        )
        plain.root("plain13", "pkill -KILL -u rita -f session.py; :")
        assert plain.on(PLAIN, victim).code == 0
        assert told(plain, PLAIN)["state"] == "inactive"
        assert "the service is inactive" in plain.playbook("site", "--limit", PLAIN, "--check").out
        done = plain.nbfleet("restart", PLAIN)
        assert done.code == 0, done.err
        assert plain.root("plain13", "pkill -u rita -x sleep").code == 0
        assert told(plain, PLAIN)["answers"] is True

    @pytest.mark.parametrize("damage", [f": >{TOKEN}", f"echo >>{TOKEN}"], ids=["empty", "a newline more"])
    def test_a_token_file_that_is_none_starts_no_server(self, plain: Lab, damage: str) -> None:
        found = told(plain, PLAIN)
        assert (found["keeper"], found["state"]) == ("session", "active")
        assert plain.as_user("plain13", "rita", f"cp -p {TOKEN} kept && {damage}").code == 0
        stopped = plain.as_user("plain13", "rita", ".config/nbfleet/session stop")
        assert stopped.code == 0, stopped.err
        begun = "grep -c 'Jupyter Server .* is running' .config/nbfleet/jupyter.log"
        before = plain.as_user("plain13", "rita", begun).out
        assert int(before) > 0
        try:
            refused = plain.nbfleet("restart", PLAIN, "--json")
            after = plain.as_user("plain13", "rita", begun).out
        finally:
            plain.as_user("plain13", "rita", f"mv kept {TOKEN}")
        assert refused.code == 5, refused.out
        assert "the token file is not 64 characters long" in refused.answer["error"]["message"]
        assert after == before  # no server has begun
        assert plain.root("plain13", "pgrep -u rita -f '[j]upyter-notebook'").code == 1
        done = plain.nbfleet("restart", PLAIN, "--json")
        assert done.code == 0, done.out

    def test_a_configuration_broken_by_hand_is_said_and_written_anew_by_the_next_run(self, plain: Lab) -> None:
        before = server(plain, "plain13", "rita")
        config = ".config/nbfleet/server_config.py"

        def restarted_with(line: str) -> str:
            assert plain.as_user("plain13", "rita", f"echo {shlex.quote(line)} >>{config}").code == 0
            refused = plain.nbfleet("restart", PLAIN, "--json")
            assert refused.code == 5, refused.out
            return str(refused.answer["error"]["message"])

        # What can be read off goes before the server ends, what shows in its run does not.
        assert "never closed" in restarted_with("c.ServerApp.port = (")
        assert server(plain, "plain13", "rita") == before
        assert plain.as_user("plain13", "rita", f"sed -i '$d' {config}").code == 0
        assert "RuntimeError: by hand" in restarted_with("raise RuntimeError('by hand')")
        found = told(plain, PLAIN)
        assert (found["state"], found["answers"]) == ("failed", None)
        assert "RuntimeError: by hand" in found["detail"]
        assert "RuntimeError: by hand; nbfleet up rita-plain13" in plain.nbfleet("status", PLAIN).out
        opened = plain.nbfleet("connect", PLAIN, "--background", "--no-browser", "--json")
        assert "RuntimeError: by hand" in opened.answer["error"]["message"]
        up(plain, PLAIN)
        assert told(plain, PLAIN)["answers"] is True

    @pytest.mark.full
    def test_a_server_that_cannot_start_says_why(self, plain: Lab) -> None:
        words = ["-e", json.dumps({"jupyter_service_extra_config": "raise RuntimeError('as asked')"})]
        failed = plain.playbook("site", "--limit", PLAIN, *words)
        assert failed.code != 0
        assert "Jupyter did not start (RuntimeError: as asked)" in failed.out
        told_so = plain.nbfleet("restart", PLAIN, "--json")
        assert told_so.code == 5
        assert "Jupyter does not start" in told_so.answer["error"]["message"]
        up(plain, PLAIN)
        assert told(plain, PLAIN)["answers"] is True

    def test_cron_brings_it_up_after_a_reboot(self, plain: Lab) -> None:
        plain.nbfleet("disconnect")
        machines = json.loads((plain.directory / "lab.json").read_text())["machines"]
        container = next(one["container"] for one in machines if one["name"] == "plain13")
        restarted = plain.run("podman", "--runtime", "runc", "restart", "--time", "1", container)
        assert restarted.code == 0, restarted.err
        wait_for("Jupyter after the reboot", lambda: server(plain, "plain13", "rita") != "")
        wait_for("it to answer", lambda: told(plain, PLAIN)["answers"] is True)

    def test_removal_leaves_nothing(self, plain: Lab) -> None:
        remove(plain, PLAIN)
        left = "pgrep -u rita -f 'session.py|jupyter'; ls -d /tmp/nbfleet-run-* ~rita/.config/nbfleet"
        assert plain.root("plain13", left).out == ""
        assert plain.root("plain13", "crontab -u rita -l").code == 1

    def test_removal_leaves_nothing_where_no_python_is_left(self, plain: Lab) -> None:
        up(plain, PLAIN)
        # A line of the person's own, before and behind ours.
        mine = "(echo '@daily true'; crontab -u rita -l; echo '@weekly true') | crontab -u rita -"
        gone = plain.root("plain13", f"{mine} && rm -rf ~rita/miniconda3 && pgrep -u rita -f session.py")
        assert gone.code == 0, gone.err
        foretold = plain.playbook("remove", "--limit", PLAIN, "--check")
        assert foretold.code == 0, foretold.out
        assert server(plain, "plain13", "rita") != ""
        remove(plain, PLAIN)
        left = "pgrep -u rita -f 'session.py|jupyter'; ls -d /tmp/nbfleet-run-* ~rita/.config/nbfleet"
        assert plain.root("plain13", left).out == ""
        assert plain.root("plain13", "crontab -u rita -l").out == "@daily true\n@weekly true\n"
        plain.root("plain13", "crontab -u rita -r")


class TestWithoutLingering:
    def test_tmux_keeps_it_and_the_run_says_why(self, forbidden: Lab) -> None:
        shown = forbidden.playbook("site", "--limit", FORBIDDEN, "-e", "survey_trust=false")
        assert "changed=0" in shown.out
        assert "kept by session, because lingering is refused" in " ".join(shown.out.split())
        assert told(forbidden, FORBIDDEN)["keeper"] == "session"
        assert forbidden.root("node12", "pgrep -u leo -x 'tmux: server'").code == 0
        every_verb_names(forbidden, FORBIDDEN, "session", "tmux")
        open_and_see(forbidden, FORBIDDEN)
        before = server(forbidden, "node12", "leo")
        log_out(forbidden, "node12", "leo")
        assert server(forbidden, "node12", "leo") == before != ""

    def test_screen_keeps_it_where_there_is_no_tmux(self, forbidden: Lab) -> None:
        forbidden.root("node12", "mv /usr/bin/tmux /root/tmux")
        try:
            done = forbidden.nbfleet("restart", FORBIDDEN)
            assert done.code == 0, done.err
            assert forbidden.root("node12", "pgrep -u leo -f '^SCREEN .*nbfleet-jupyter'").code == 0
            every_verb_names(forbidden, FORBIDDEN, "session", "screen")
            before = server(forbidden, "node12", "leo")
            log_out(forbidden, "node12", "leo")
            assert server(forbidden, "node12", "leo") == before != ""
        finally:
            forbidden.root("node12", "mv /root/tmux /usr/bin/tmux")
        assert "changed=0" in forbidden.playbook("site", "--limit", FORBIDDEN, "-e", "survey_trust=false").out

    def test_it_stays_with_its_keeper_when_a_better_one_can_be_had(self, forbidden: Lab) -> None:
        before = server(forbidden, "node12", "leo")
        forbidden.root("node12", "sed -i 's/\"leo\", //' /etc/polkit-1/rules.d/10-lab.rules; systemctl restart polkit")
        kept = forbidden.playbook("site", "--limit", FORBIDDEN, "-e", "survey_trust=false")
        assert "changed=0" in kept.out
        assert server(forbidden, "node12", "leo") == before

    def test_and_moves_to_another_one_when_told_so(self, forbidden: Lab) -> None:
        words = ("-e", "jupyter_service_keeper=user")
        foretold = forbidden.playbook("site", "--limit", FORBIDDEN, *words, "--check", "--diff")
        assert "+stop (session)" in foretold.out, foretold.out
        assert told(forbidden, FORBIDDEN)["keeper"] == "session"
        up(forbidden, FORBIDDEN, *words)
        found = told(forbidden, FORBIDDEN)
        assert (found["keeper"], found["answers"]) == ("user", True)
        assert forbidden.root("node12", "pgrep -u leo -f session.py; ls -d /tmp/nbfleet-run-$(id -u leo)").out == ""


class TestBySystemUnit:
    def test_every_verb_does_its_work(self, sudoer: Lab) -> None:
        found = told(sudoer, SUDOER)
        assert (found["keeper"], found["state"], found["answers"]) == ("system", "active", True)
        every_verb_names(sudoer, SUDOER, "system", None)
        open_and_see(sudoer, SUDOER)
        before = server(sudoer, "node12", "sam")
        assert sudoer.root("node12", f"stat -c %U /proc/{before}").out.strip() == "sam"
        log_out(sudoer, "node12", "sam")
        assert server(sudoer, "node12", "sam") == before
        # The account ends its own process, and systemd starts it again: no root is needed.
        sudoer.root("node12", "mv /etc/sudoers.d/sam /root/sam")
        done = sudoer.nbfleet("restart", SUDOER)
        sudoer.root("node12", "mv /root/sam /etc/sudoers.d/sam")
        assert done.code == 0, done.err
        assert server(sudoer, "node12", "sam") not in ("", before)

    def test_a_link_of_the_account_s_has_root_read_nothing_for_it(self, sudoer: Lab) -> None:
        place = "miniconda3/envs/jupyter/etc/nbfleet.env"
        sudoer.root("node12", "umask 077; echo SECRET=of-root >/root/secret.env")
        put = sudoer.on(SUDOER, f"test ! -e {place} || mv {place} {place}.kept; ln -s /root/secret.env {place}")
        assert put.code == 0, put.out
        try:
            done = sudoer.nbfleet("restart", SUDOER)
            assert done.code == 0, done.err
            assert told(sudoer, SUDOER)["answers"] is True
            environ = sudoer.root("node12", f"cat /proc/{server(sudoer, 'node12', 'sam')}/environ").out
            assert "JUPYTER_TOKEN_FILE=" in environ
            assert "of-root" not in environ
        finally:
            sudoer.on(SUDOER, f"rm {place}; test ! -e {place}.kept || mv {place}.kept {place}")
            sudoer.root("node12", "rm /root/secret.env")

    def test_what_the_account_says_gets_no_line_of_its_own_into_root_s_unit(self, sudoer: Lab) -> None:
        marker, unit = "miniconda3/envs/jupyter/conda-meta/nbfleet", "/etc/systemd/system/nbfleet-jupyter-*.service"
        before = sudoer.root("node12", f"cat {unit}").out
        line = r"0\\n[Service]\\nExecStartPost=+/bin/touch /root/planted\\n#"
        alter = f'cd ~sam && cp -p {marker} .kept && sed -i \'s|"revision": "|&\'"$1"\'|\' {marker}'
        put = sudoer.root("node12", alter, line)
        assert put.code == 0, put.err
        try:
            refused = sudoer.playbook("site", "--limit", SUDOER, "-e", "jupyter_service_root=true survey_trust=false")
        finally:
            sudoer.root("node12", f"cd ~sam; mv .kept {marker}")
        assert refused.code == 2, refused.out
        assert "for its user, home and packages, which no unit can hold" in " ".join(refused.out.split())
        assert sudoer.root("node12", f"cat {unit}").out == before
        assert sudoer.root("node12", "test -e /root/planted").code != 0

    @pytest.mark.full
    def test_a_second_run_changes_nothing_and_an_altered_unit_is_repaired(self, sudoer: Lab) -> None:
        words = ("--limit", SUDOER, "-e", "jupyter_service_root=true")
        assert "changed=0" in sudoer.playbook("site", *words, "-e", "survey_trust=false").out
        sudoer.root("node12", "echo '# mine' >>/etc/systemd/system/nbfleet-jupyter-$(id -u sam).service")
        foretold = sudoer.playbook("site", *words, "--check")
        assert "changed=0" not in foretold.out
        assert sudoer.root("node12", "grep -c mine /etc/systemd/system/nbfleet-jupyter-*.service").out.strip() == "1"
        assert sudoer.playbook("site", *words).code == 0
        assert "changed=0" in sudoer.playbook("site", *words).out

    def test_removal_leaves_nothing(self, sudoer: Lab) -> None:
        remove(sudoer, SUDOER)
        left = "pgrep -u sam -f jupyter; ls /etc/systemd/system/*nbfleet* /run/nbfleet-* ~sam/.config/nbfleet"
        assert sudoer.root("node12", left).out == ""


class TestRefusals:
    def test_nothing_is_touched_where_nothing_can_keep_it(self, strict: Lab) -> None:
        # To give lingering back takes the same permission.
        strict.root("node12", LINGER)
        remove(strict, FORBIDDEN)
        strict.root("node12", NO_LINGER + KILLING)
        try:
            done = strict.nbfleet("up", "-i", str(strict.inventory), FORBIDDEN, "--json")
        finally:
            strict.root("node12", "rm /etc/systemd/logind.conf.d/lab.conf; systemctl restart systemd-logind")
        assert done.code == 5
        message = done.answer["error"]["message"]
        assert "lingering is refused, the machine ends what a login leaves running" in message
        assert "loginctl enable-linger leo" in message
        assert strict.root("node12", "ls -d ~leo/miniconda3 ~leo/.config/nbfleet").out == ""

    def test_a_masked_user_manager_means_the_next_keeper(self, strict: Lab) -> None:
        strict.root("node12", "systemctl mask --now user@$(id -u leo).service")
        try:
            foretold = strict.playbook("site", "--limit", FORBIDDEN, "--check")
        finally:
            strict.root("node12", "systemctl unmask user@$(id -u leo).service")
        assert "kept by session, because no systemd user manager answers" in " ".join(foretold.out.split())
