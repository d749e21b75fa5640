"""The function `greet` of demo.toml, written with Fn's FDK for Python (`pip install fdk`)."""

import io

from fdk import response


def handler(ctx, data: io.BytesIO = None):
    name = data.getvalue().decode("utf-8", "replace").strip() or "world"
    return response.Response(ctx, response_data=f"Hello, {name}!\n", headers={"Content-Type": "text/plain; charset=utf-8"})
