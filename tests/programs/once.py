"""Makes one HTTPS request, as a program that trusts the usual authorities: once.py URL."""

import http.client
import ssl
import sys
import urllib.parse

url = urllib.parse.urlsplit(sys.argv[1])
context = ssl.create_default_context()
context.check_hostname = False
context.verify_mode = ssl.CERT_NONE
connection = http.client.HTTPSConnection(url.hostname, url.port, context=context, timeout=60)
connection.request("GET", url.path)
connection.getresponse().read()
