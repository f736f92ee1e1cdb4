"""A web server on the loopback that sends a file, or the pictures of a camera whose connection drops."""

import http.server
import io
import threading
from contextlib import suppress

from PIL import Image

LEVELS_APART = 8  # of the gray of two pictures, one after the other


class VideoServer(http.server.ThreadingHTTPServer):
    """Sends one file, never a range of it; or the pictures of a camera, each lighter than the one before.

    Args:
        content: The file; None: pictures.
        connections: How many are answered.
        pictures: Of each connection, before it breaks off.
        cut: Whether it breaks off in the middle of one more picture.
    """

    def __init__(self, content: bytes | None, connections: int = 100, pictures: int = 10, cut: bool = False) -> None:
        self.content, self.connections, self.pictures, self.cut = content, connections, pictures, cut
        self.num_pictures = 0
        super().__init__(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.serve_forever, daemon=True).start()
        self.address = f"http://127.0.0.1:{self.server_port}/camera"


class Handler(http.server.BaseHTTPRequestHandler):
    """Of the server above."""

    server: VideoServer

    def do_GET(self) -> None:
        self.server.connections -= 1
        if self.server.connections < 0:
            self.send_error(503)
            return
        self.send_response(200)
        if self.server.content is not None:
            self.send_header("Content-Length", str(len(self.server.content)))
            self.end_headers()
            with suppress(BrokenPipeError, ConnectionResetError):  # the reader has enough
                self.wfile.write(self.server.content)
            return
        self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=frame")
        self.end_headers()
        for _ in range(self.server.pictures):
            self.wfile.write(self.next_part())
        if self.server.cut:
            part = self.next_part()
            self.wfile.write(part[: len(part) // 2])

    def next_part(self) -> bytes:
        """The next picture as a part of the answer."""
        picture = io.BytesIO()
        Image.new("RGB", (64, 48), (self.server.num_pictures * LEVELS_APART,) * 3).save(picture, "JPEG")
        self.server.num_pictures += 1
        content = picture.getvalue()
        header = f"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: {len(content)}\r\n\r\n"
        return header.encode() + content + b"\r\n"

    def log_message(self, *_: object) -> None: ...
