"""What the event log has Redis run in one step: scripts that read or remove one log, whose key is KEYS[1]."""

from typing import Final

# The first and last entries themselves, which XINFO holds as well and which may have megabytes, stay in the server.
ENDS: Final = """
if redis.call('EXISTS', KEYS[1]) == 0 then return false end
local info = redis.call('XINFO', 'STREAM', KEYS[1])
local found = {}
for i = 1, #info, 2 do found[info[i]] = info[i + 1] end
local first, newest = found['first-entry'], found['last-entry']
return {first and first[1] or '', newest and newest[1] or '', found['last-generated-id'], found['length']}
"""

REMOVE_EMPTY: Final = "return redis.call('XLEN', KEYS[1]) == 0 and redis.call('UNLINK', KEYS[1]) or 0"

AHEAD: Final = """
local found = redis.call('XRANGE', KEYS[1], ARGV[1] == '' and '-' or '(' .. ARGV[1], '+')
return {#found, #found > 0 and found[1][1] or ''}
"""

NEWEST: Final = """
local found = redis.call('XREVRANGE', KEYS[1], '+', '-', 'COUNT', ARGV[1])
return #found > 0 and found[#found][1]
"""
