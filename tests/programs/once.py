"""Makes one HTTPS request, as a program that trusts the usual authorities: once.py URL [WAIT].

WAIT is in seconds, from when the library is there until it is used.
"""

import http.client
import ssl
import sys
import time
import urllib.parse

if len(sys.argv) > 2:
    time.sleep(float(sys.argv[2]))
url = urllib.parse.urlsplit(sys.argv[1])
context = ssl.create_default_context()
context.check_hostname = False
context.verify_mode = ssl.CERT_NONE
connection = http.client.HTTPSConnection(url.hostname, url.port, context=context, timeout=60)
connection.request("GET", url.path)
connection.getresponse().read()
