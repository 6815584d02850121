"""A mail server that keeps what it gets: `python smtp_sink.py FOLDER` writes its port and then a line of JSON a mail there."""

from __future__ import annotations

import asyncio
import email
import json
import sys
from email.utils import parsedate
from pathlib import Path

from aiosmtpd.smtp import SMTP, Envelope, Session

HEADERS = ("From", "Subject", "X-Mailer", "To")


class Keep:
    """aiosmtpd's handler."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / "mails"

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        assert isinstance(envelope.content, bytes)
        mail = email.message_from_bytes(envelope.content)
        told = {
            "helo": session.host_name,
            "from": envelope.mail_from,
            "to": envelope.rcpt_tos,
            "headers": {name: mail[name] for name in HEADERS},
            "dated": parsedate(mail["Date"]) is not None,
            "body": str(mail.get_payload()).strip(),
        }
        with self._path.open("a") as file:
            file.write(json.dumps(told) + "\n")
        return "250 kept"


async def main(folder: Path) -> None:
    server = await asyncio.get_running_loop().create_server(lambda: SMTP(Keep(folder)), "127.0.0.1", 0)
    (folder / "port.new").write_text(str(server.sockets[0].getsockname()[1]))
    (folder / "port.new").rename(folder / "port")
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1])))
