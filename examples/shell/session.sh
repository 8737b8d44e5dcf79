#!/bin/sh
# Log in, call, refresh and log out with curl and sed only. An example, and a quick check of a server.
#   GRANTD=http://127.0.0.1:8080 ./session.sh admin <password.txt
set -eu
grantd=${GRANTD:-http://127.0.0.1:8080}
username=${1:?a user name}
IFS= read -r password

# Prints a member of the JSON object on standard input. Sufficient for tokens, which contain no quotes.
member() {
    sed -n "s/.*\"$1\":\"\([^\"]*\)\".*/\1/p"
}

# Posts a form from standard input, one `name=value` per line. Secrets stay out of the arguments, which other users can see.
post() {
    sed 's/^/data-urlencode = "/; s/$/"/' | curl --silent --show-error --fail-with-body --config - "$grantd$1"
}

# Escapes \ and " for curl's configuration.
escaped() {
    printf '%s' "$1" | sed 's/[\\"]/\\&/g'
}

# 1. Log in: the password grant returns an access token, which expires after minutes, and a refresh token.
answer=$(printf '%s\n' grant_type=password "username=$(escaped "$username")" "password=$(escaped "$password")" |
    post /token)
access=$(printf '%s' "$answer" | member access_token)
refresh=$(printf '%s' "$answer" | member refresh_token)
echo "logged in"

# 2. Call a route with the access token.
call() {
    printf 'header = "Authorization: Bearer %s"\n' "$access" |
        curl --silent --show-error --output /dev/null --write-out '%{http_code}\n' --config - "$grantd/users/me"
}
echo "a call: $(call)"

# 3. Refresh: returns new tokens. Store the new refresh token, because the old one works only once.
answer=$(printf '%s\n' grant_type=refresh_token "refresh_token=$refresh" | post /token)
access=$(printf '%s' "$answer" | member access_token)
refresh=$(printf '%s' "$answer" | member refresh_token)
echo "a call with the refreshed token: $(call)"

# 4. Log out: revoking the refresh token ends the session and invalidates all its tokens.
printf '%s\n' "token=$refresh" | post /revoke
echo "a call after the logout: $(call)"
