# shellcheck shell=sh
# What only root can do for a unit of the machine's systemd. Set before this text: ORDERS (write enable start restart
# forget), UNIT, FILE, CONTENT. The last line it prints is its answer. Nothing of the account is run or believed here.
{
answer() { printf '@nbfleet %s %s\n' "$1" "$2"; exit 0; }
[ "$(id -u)" -eq 0 ] || answer failed "the system unit $UNIT needs root, and this is $(id -un)"
began=$(date +%s)
for order in $ORDERS; do
  case $order in
    write)
      umask 022
      if ! printf %s "$CONTENT" >"$FILE.nbfleet-new" || ! mv -f "$FILE.nbfleet-new" "$FILE"; then
        answer failed "$FILE could not be written"
      fi
      systemctl daemon-reload
      ;;
    enable) said=$(systemctl enable --quiet "$UNIT" 2>&1) || answer failed "$UNIT could not be enabled ($said)" ;;
    start | restart)
      systemctl reset-failed "$UNIT" 2>/dev/null
      said=$(systemctl "$order" "$UNIT" 2>&1) || {
        told=$(journalctl -u "$UNIT" --since="@$began" -o cat --no-pager -q | grep -E '(Error|ERROR|Exception): |not' | tail -n 1)
        answer failed "Jupyter did not start (${told:-$said}); see journalctl -u $UNIT on the machine"
      }
      ;;
    forget)
      [ -e "$FILE" ] || continue
      if ! systemctl disable --quiet --now "$UNIT" || ! rm -f "$FILE"; then
        answer failed "$UNIT could not be removed; look at systemctl status $UNIT on the machine"
      fi
      systemctl daemon-reload
      systemctl reset-failed "$UNIT" 2>/dev/null
      ;;
  esac
done
answer "done" "$UNIT: $ORDERS"
} </dev/null
