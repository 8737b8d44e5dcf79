#!/bin/sh
# Log in, call, refresh, log out, with curl and sed alone: for reading, and for trying a server.
#   GRANTD=http://127.0.0.1:8080 ./session.sh admin <password.txt
set -eu
grantd=${GRANTD:-http://127.0.0.1:8080}
username=${1:?a user name}
IFS= read -r password

# The value of a member of the JSON on standard input; good enough for tokens, which have no quotes.
member() {
    sed -n "s/.*\"$1\":\"\([^\"]*\)\".*/\1/p"
}

# POST a form from standard input, one `name=value` a line. Secrets stay out of the arguments, which others can see.
post() {
    sed 's/^/data-urlencode = "/; s/$/"/' | curl --silent --show-error --fail-with-body --config - "$grantd$1"
}

# A string for curl's configuration: \ and " need a \ before them.
escaped() {
    printf '%s' "$1" | sed 's/[\\"]/\\&/g'
}

# 1. The password gives an access token, good for minutes, and a refresh token.
answer=$(printf '%s\n' grant_type=password "username=$(escaped "$username")" "password=$(escaped "$password")" |
    post /token)
access=$(printf '%s' "$answer" | member access_token)
refresh=$(printf '%s' "$answer" | member refresh_token)
echo "logged in"

# 2. A call with the access token.
call() {
    printf 'header = "Authorization: Bearer %s"\n' "$access" |
        curl --silent --show-error --output /dev/null --write-out '%{http_code}\n' --config - "$grantd/users/me"
}
echo "a call: $(call)"

# 3. The refresh token gives the next of both. Keep the new one: the old one is spent.
answer=$(printf '%s\n' grant_type=refresh_token "refresh_token=$refresh" | post /token)
access=$(printf '%s' "$answer" | member access_token)
refresh=$(printf '%s' "$answer" | member refresh_token)
echo "a call with the refreshed token: $(call)"

# 4. Logging out ends the session, and with it all its tokens.
printf '%s\n' "token=$refresh" | post /revoke
echo "a call after the logout: $(call)"
