# shellcheck shell=sh
# More questions for whoever wants to know why something would not work; a part of survey.sh, put in where it says so.
# SURVEY_URLS: addresses that the account needs; SURVEY_PROXY: the proxy for them, or nothing. It may hold a password,
# so it is in no argument. SURVEY_NO_PROXY: hosts that are reached without it; SURVEY_CA_BUNDLE: certificates to trust.
# shellcheck disable=SC2154 # survey.sh's
say clock "$(date +%s)"
say home_writable "$(yes_no test -w "$HOME")"
say home_options "$(findmnt -n -o OPTIONS -T "$HOME" | head -n 1)"
say ssh_port "${SSH_CONNECTION##* }"
say home_of_many "$(yes_no of_many)"
space prefix "$SURVEY_PREFIX"
machine_python=none
if has python3; then
  machine_python=$(limited python3 -c 'import platform; print(platform.python_version())') || machine_python=broken
fi
say machine_python "$machine_python"
# The program that began the session that runs, else the one that would.
session_by=$(sed -n 's/^by=//p' "$runtime/keeper")
for way in tmux screen setsid; do
  if [ -z "$session_by" ] && has "$way"; then session_by=$way; fi
done
say session_by "$session_by"
if has crontab; then say cron yes; else say cron no; fi

# What an address answers: its status, or the proxy's where that lets nothing through; 000: nothing; `certificate`, `none`.
# Always in a shell of its own, so that the proxy is its alone; as at the installation the account's counts where none is
# given.
answer_of() {
  if [ -n "$SURVEY_PROXY" ]; then
    export http_proxy="$SURVEY_PROXY" https_proxy="$SURVEY_PROXY" HTTPS_PROXY="$SURVEY_PROXY" all_proxy="$SURVEY_PROXY"
    export no_proxy="$SURVEY_NO_PROXY" NO_PROXY="$SURVEY_NO_PROXY"
  fi
  if has curl; then
    set -- "$1" --head --location --silent --netrc-optional --output /dev/null --max-time 15
    if [ -n "$SURVEY_CA_BUNDLE" ]; then set -- "$@" --cacert "$SURVEY_CA_BUNDLE"; fi
    code=$(curl --write-out '%{http_code} %{http_connect}' "$@")
    case $?,$code in
      60,* | 77,*) echo certificate ;;
      *,000\ [345]*) echo "${code#* }" ;;
      *) echo "${code% *}" ;;
    esac
  elif has wget; then
    set -- "$1" --spider --tries=1 --timeout=15 --server-response
    if [ -n "$SURVEY_CA_BUNDLE" ]; then set -- "$@" --ca-certificate="$SURVEY_CA_BUNDLE"; fi
    said=$(wget "$@" 2>&1)
    case $? in
      5) echo certificate ;;
      *) printf '%s\n' "$said" | awk '$1 ~ /^HTTP\// { code = $2 } END { print code ? code : "000" }' ;;
    esac
  else
    echo none
  fi
}
for url in $SURVEY_URLS; do
  case $url in http*) say url "$(answer_of "$url") $url" ;; esac
done
