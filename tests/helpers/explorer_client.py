"""Talk to an explorer server as its page does."""

from __future__ import annotations

import http.client
import json
import struct

from dafxtool.explorer.messages import unpack

SESSION = "0123456789abcdef"


class Client:
    """One tab of a server."""

    def __init__(self, server, session=SESSION):
        self.port, self.session = server.port, session
        self.token = server.url.partition("token=")[2]

    def request(self, method, path, body=None, headers=None, cookie=None):
        """Return status, headers and content of a request; a header of None is not sent."""
        own = {
            "Host": f"127.0.0.1:{self.port}",
            "Cookie": f"dafxtool-{self.port}={self.token if cookie is None else cookie}",
            "X-Session": self.session,
        }
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=120)
        connection.putrequest(method, path, skip_host=True)
        for name, value in (own | (headers or {})).items():
            if value is not None:
                connection.putheader(name, value)
        if body is not None:
            connection.putheader("Content-Length", str(len(body)))
        connection.endheaders(body)
        response = connection.getresponse()
        content = response.read()
        connection.close()
        return response.status, response.headers, content

    def ask(self, path, **body):
        """Return content and arrays of a message."""
        status, _, content = self.request("POST", path, json.dumps(body).encode())
        assert status == 200, content
        return unpack(content)

    def refusal(self, path, **body):
        """Return the sentence of a refused request."""
        status, _, content = self.request("POST", path, json.dumps(body).encode())
        assert status == 400, (status, content)
        return json.loads(content)["error"]

    def stream(self, path, **body):
        """Return all messages of a stream."""
        status, _, content = self.request("POST", path, json.dumps(body).encode())
        assert status == 200, content
        messages = []
        while content:
            size = struct.unpack_from("<I", content)[0]
            messages.append(unpack(content[:size]))
            content = content[size:]
        return messages

    def upload(self, name, content):
        """Upload a recording; return the status and the content."""
        status, _, answer = self.request("POST", "/recordings", content, {"X-Name": name})
        return status, answer

    def scene(self, effect="delay", recording="file-0", start=0, **setting):
        """Return a request for a setting."""
        return {"recording": recording, "start": start, "effect": effect, "setting": setting}
