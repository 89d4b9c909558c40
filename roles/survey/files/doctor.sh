# shellcheck shell=sh
# More questions for whoever wants to know why something would not work; a part of survey.sh, put in where it says so.
# SURVEY_URLS: addresses that the account needs; SURVEY_PROXY: the proxy for them, or nothing. It may hold a password,
# so it is in no argument.
# shellcheck disable=SC2154 # survey.sh's
say clock "$(date +%s)"
say home_writable "$(yes_no test -w "$HOME")"
say home_options "$(findmnt -n -o OPTIONS -T "$HOME" | head -n 1)"
say ssh_port "${SSH_CONNECTION##* }"
say machine_python "$(python3 -c 'import platform; print(platform.python_version())')"
if has crontab; then say cron yes; else say cron no; fi
for url in $SURVEY_URLS; do
  case $url in http*) ;; *) continue ;; esac
  code=none
  if has curl; then
    code=$(printf '%s\n' "$SURVEY_PROXY" | sed -e '/./!d' -e 's/[\\"]/\\&/g' -e 's/.*/proxy = "&"/' |
      curl --config - --head --location --silent --output /dev/null --max-time 15 --write-out '%{http_code}' "$url")
  elif has wget; then
    code=$(http_proxy=$SURVEY_PROXY https_proxy=$SURVEY_PROXY wget --spider --tries=1 --timeout=15 --server-response \
      "$url" 2>&1 | awk '$1 ~ /^HTTP\// { code = $2 } END { print code ? code : "000" }')
  fi
  say url "$code $url"
done
