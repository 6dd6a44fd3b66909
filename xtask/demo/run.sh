#!/bin/sh
# The watched part of `cargo xtask demo`: the API and its clients.
# Usage: run.sh DIRECTORY, which holds cert.pem and key.pem.
set -eu
directory=$1
here=$(dirname "$0")

# It says where it listens once it does.
rm -f "$directory/http"
/usr/bin/env python3 "$here/api.py" "$directory" &
api=$!
trap 'kill $api; wait $api 2> /dev/null || true' EXIT

tries=0
until [ -s "$directory/http" ]; do
    tries=$((tries + 1))
    [ $tries -le 100 ] || { echo "the API does not start" >&2; exit 1; }
    sleep 0.1
done
http=$(cat "$directory/http")
https=$(cat "$directory/https")

# Prints the body, and is content with any status.
call() {
    curl --silent --show-error --max-time 20 --cacert "$directory/cert.pem" "$@"
}
quietly() {
    call --output /dev/null "$@"
}

# A monitor.
for _ in 1 2 3; do quietly "$http/healthz"; done

# A scanner, which finds nothing.
for path in .env .git/config admin.php api/v1/internal/debug backup.sql config.json \
    phpmyadmin/ server-status wp-login.php xmlrpc.php actuator/env api/swagger.json \
    .aws/credentials .htpasswd api/graphql console cgi-bin/test debug/pprof dump.sql \
    id_rsa manager/html metrics old/index.php solr/admin vendor/phpunit; do
    quietly --user-agent scanner/0.1 "$http/$path"
done

# A browser-like client: one connection, many calls.
quietly "$http/api/v1/users?page=1&sort=name" \
    --next "$http/api/v1/users/1" --next "$http/api/v1/users/2" \
    --next "$http/api/v1/users/99" > /dev/null
for user in 3 4 5 6 7 8; do quietly "$http/api/v1/users/$user"; done

# A customer: logs in over TLS, orders, looks, cancels.
token=$(call --user ada:open-sesame --request POST "$https/api/v1/login" |
    sed 's/.*"token": "\([0-9a-f]*\)".*/\1/')
quantity=1
for item in tea coffee cocoa mate; do
    order=$(call --header "Authorization: Bearer $token" --json \
        "{\"item\":\"$item\",\"quantity\":$quantity,\"card\":\"4111111111111111\"}" \
        "$https/api/v1/orders" | sed 's/.*"id": "\([0-9a-f-]*\)".*/\1/')
    quietly --header "Authorization: Bearer $token" "$https/api/v1/orders/$order"
    quantity=$((quantity + 1))
done
quietly --header "Authorization: Bearer $token" --request DELETE "$https/api/v1/orders/$order"
quietly --header "Authorization: Bearer $token" --json '{"quantity":-1}' "$https/api/v1/orders"

# An administrator whose password crosses the wire in the clear, and a stranger.
quietly --user ada:open-sesame "$http/api/v1/admin/report"
quietly "$http/api/v1/admin/report"

# A partner who has a key, and a question that the API cannot answer.
quietly "$http/api/v1/search?q=tea&api_key=pk-4711-not-a-real-key"
quietly "$http/api/v1/search?q=%27&api_key=pk-4711-not-a-real-key"
