"""Bodies that schemathesis does not know how to send."""

import schemathesis


@schemathesis.serializer("application/gzip")
class Gzip:
    """Sends what was generated as it is: mostly no archive at all, which is the point."""

    def as_requests(self, ctx, value):
        return {"data": value if isinstance(value, bytes) else str(value).encode()}

    def as_werkzeug(self, ctx, value):
        return self.as_requests(ctx, value)
