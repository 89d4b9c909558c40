# Ends all sessions of user $1 and waits until logind says that only its lingering is left; runs as root.
set -eu
user=$1
for session in $(loginctl show-user "$user" -p Sessions --value); do
  loginctl terminate-session "$session" || true
done
deadline=$(($(date +%s) + 60))
until [ "$(loginctl show-user "$user" -p State --value)" = lingering ]; do
  [ "$(date +%s)" -lt "$deadline" ] || {
    echo "$user is not left lingering: $(loginctl show-user "$user" -p State -p Sessions -p Linger | tr '\n' ' ')" >&2
    exit 1
  }
  sleep 0.5
done
