import asyncio, email, json, sqlite3, urllib.request

import markupsafe

print(json.dumps({"escaped": markupsafe.escape("<>"), "modules": [m.__name__ for m in (asyncio, email, sqlite3, urllib)]}))
