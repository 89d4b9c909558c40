# What an account sees of its own Jupyter, one word a line as "key=value"; runs on the account.
# STATE_DIR, BASE_URL, LISTENS_ON (a socket, with UID for the user's number, or a port), ENVIRONMENT.
set -u
place=$(echo "$LISTENS_ON" | sed "s/UID/$(id -u)/")
ask() { # STATUS of a path; standard input is a header line for curl, out of sight of ps
  case $place in
    /*) curl -s -o /dev/null -w '%{http_code}' --max-time 20 -H @- --unix-socket "$place" "http://localhost$1" ;;
    *) curl -s -o /dev/null -w '%{http_code}' --max-time 20 -H @- "http://127.0.0.1:$place$1" ;;
  esac
}
printf 'without_token=%s\n' "$(echo 'Accept: */*' | ask "${BASE_URL}api/contents")"
printf 'with_token=%s\n' "$( (printf 'Authorization: token '; cat "$STATE_DIR/token"; echo) | ask "${BASE_URL}api/contents")"
printf 'wrong_token=%s\n' "$(echo 'Authorization: token wrong' | ask "${BASE_URL}api/contents")"
printf 'token_mode=%s\n' "$(stat -c %a "$STATE_DIR/token")"
printf 'token_bytes=%s\n' "$(stat -c %s "$STATE_DIR/token")"
printf 'state_dir_mode=%s\n' "$(stat -c %a "$STATE_DIR")"
case $place in
  /*) printf 'socket_folder_mode=%s\n' "$(stat -c %a "$(dirname "$place")")" ;;
esac
printf 'listens_on=%s\n' "$place"
printf 'came_from=%s\n' "${SSH_CONNECTION%% *}"
printf 'linger=%s\n' "$(loginctl show-user "$(id -un)" -p Linger --value)"
printf 'unit=%s\n' "$(systemctl --user is-active nbfleet-jupyter.service)"
printf 'notebook=%s\n' "$("$ENVIRONMENT/bin/jupyter" notebook --version 2>/dev/null | head -n 1 | cut -d. -f1)"
printf 'lab=%s\n' "$("$ENVIRONMENT/bin/jupyter" lab --version 2>/dev/null | head -n 1 | cut -d. -f1)"
