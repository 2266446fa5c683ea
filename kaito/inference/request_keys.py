"""What a request carries on its way through the handlers."""

from aiohttp import web

REQUEST_ID = web.RequestKey("request_id", str)
