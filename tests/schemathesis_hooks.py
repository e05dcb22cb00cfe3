"""Bodies that schemathesis does not know how to send."""

import schemathesis


@schemathesis.serializer("application/gzip")
def as_it_is(context, value):
    """What was generated, as it is: mostly no archive at all, which is the point."""
    return value if isinstance(value, bytes) else str(value).encode()
