"""What the event log has Redis run in one step, and the keys beside the logs that it works with.

Each script works on one log, or one of these keys, which is KEYS[1], and on a bounded number of entries: none counts
or scans a log.
"""

from typing import Final

from veupath_store.events.fold.fold import PROJECTING
from veupath_store.events.log.entries import LAST
from veupath_store.events.log.pages import BYTES

BEHIND: Final = "projections:behind"
"""A sorted set: the streams whose projection is behind, by the milliseconds since when."""

SWEPT: Final = "projections:swept"
"""There as long as the last sweep through all logs is recent."""

NEVER: Final = "projections:never"
"""Never there: what is appended to it tells whether the server takes writes."""

HOLDER: Final = "projections:database"
"""Which database the logs under a prefix belong to, for as long as that is in use."""

DAY: Final = 86_400
"""Seconds for which logs belong to a database that is not seen any more, the key of an event makes its repetition
harmless, and events of a deleted operation are refused. Its worker has lost its lease long before."""

GONE: Final = "operations:gone:"
"""What is there says that the operation behind it was deleted: nothing of it is appended any more."""

# KEYS: the log, the marks, what says of each operation that it is gone, a key for each event that has one. ARGV: 1 to
# make the log where it is not there, the stream to mark or nothing, the number of operations, and for each event its
# operation, type, data and the number of its key among KEYS, or 0.
# What may be refused comes first, the mark and the keys: where it is, nothing is appended. A key that is not there is
# set if it is there, which does nothing, and is refused to a user that may not set it. The mark's score says since when
# it stands, and each append raises it by a thousandth, so that a catch-up that read the log before does not take it
# away. What is no sorted set under the name of the marks would refuse everybody's events: it is replaced.
APPEND: Final = f"""
if ARGV[1] ~= '1' and redis.call('EXISTS', KEYS[1]) == 0 then return false end
local operations = tonumber(ARGV[3])
for i = 3, 2 + operations do
    if redis.call('EXISTS', KEYS[i]) == 1 then return false end
end
if ARGV[2] ~= '' then
    local score = redis.pcall('ZSCORE', KEYS[2], ARGV[2])
    if type(score) == 'table' then
        if not string.find(score.err, 'WRONGTYPE') then return score end
        redis.call('UNLINK', KEYS[2])
        score = false
    end
    score = tonumber(score or '')
    if score then
        score = score + 0.001
    else
        local now = redis.call('TIME')
        score = now[1] * 1000 + now[2] / 1000
    end
    redis.call('ZADD', KEYS[2], string.format('%.3f', score), ARGV[2])
end
local ids, known = {{}}, {{}}
for i = 3 + operations, #KEYS do
    known[KEYS[i]] = redis.call('GET', KEYS[i])
    if not known[KEYS[i]] then redis.call('SET', KEYS[i], '', 'XX') end
end
for i = 4, #ARGV, 4 do
    local key = ARGV[i + 3] ~= '0' and KEYS[tonumber(ARGV[i + 3])]
    local id = key and known[key]
    if not id then
        id = redis.call('XADD', KEYS[1], '*', 'op', ARGV[i], 'type', ARGV[i + 1], 'data', ARGV[i + 2])
        if key then
            redis.call('SET', key, id, 'EX', {DAY})
            known[key] = id
        end
    end
    ids[#ids + 1] = id
end
return ids
"""


# How large entries are is not known before they are read: a page grows by a few, until it has so many bytes.
_PAGE: Final = """
local function page_after(after, count, bytes)
    local page, size, last = {}, 0, false
    while not last and #page < count and size < bytes do
        local piece = math.min(#page + 1, 64, count - #page)
        local entries = redis.call('XRANGE', KEYS[1], after, '+', 'COUNT', piece)
        for _, entry in ipairs(entries) do
            page[#page + 1] = entry
            for _, field in ipairs(entry[2]) do size = size + #field end
        end
        last = #entries < piece
        if not last then after = '(' .. entries[piece][1] end
    end
    return page, last
end
"""

# Reads a page of a log and appends to its end, where the row has reached that (docs/event-log.md, rule 3).
# ARGV: the row's position or nothing, how many entries to read at most, of how many bytes about, what to do, the
# smallest id or the last id that goes with it, and for each entry to append its operation, type, data and key. What to
# do is
# * end: append where the log holds the position, the page is the last one, and nothing on it projects, or is an event
#   of a unit of work, which a catch-up that died may have appended;
# * new: append where there is no log; ids are greater than the position;
# * replace: remove the log first, where its last id is still the given one.
# Each event has its key among KEYS, as for APPEND: one that the log holds is not appended again.
# Answers whether the log is there, whether it holds the position, whether the page is the last one, the page, and the
# ids of what was appended.
_READ_AND_APPEND: Final = """
local position, mode, bound = ARGV[1], ARGV[4], ARGV[5]
local there = redis.call('EXISTS', KEYS[1]) == 1
local found, page, ids, last = position == '' or position == '0-0', {}, {}, not there or position == 'LAST'
if there and not found then found = #redis.call('XRANGE', KEYS[1], position, position) == 1 end
if not last then
    page, last = page_after(position == '' and '-' or '(' .. position, tonumber(ARGV[2]), tonumber(ARGV[3]))
end
local function projects()
    local types = PROJECTING
    for _, entry in ipairs(page) do
        local fields = entry[2]
        for i = 1, #fields, 2 do
            if fields[i] == 'key' or fields[i] == 'type' and types[fields[i + 1]] then return true end
        end
    end
    return false
end
local appends = false
if mode == 'end' then
    appends = there and position ~= '' and found and last and not projects()
elseif mode == 'new' then
    appends = not there
elseif mode == 'replace' and there then
    local info = redis.call('XINFO', 'STREAM', KEYS[1])
    for i = 1, #info, 2 do
        if info[i] == 'last-generated-id' then appends = info[i + 1] == bound end
    end
    if appends then redis.call('UNLINK', KEYS[1]) end
    page = {}
end
if appends then
    local id = '*'
    if mode == 'new' and bound ~= '' then
        local now = redis.call('TIME')
        if now[1] * 1000 + math.floor(now[2] / 1000) <= tonumber(string.match(bound, '^%d+')) then id = bound end
    end
    local keyed = 1
    for i = 6, #ARGV, 4 do
        local entry = {'XADD', KEYS[1], id, 'op', ARGV[i], 'type', ARGV[i + 1], 'data', ARGV[i + 2]}
        local known
        if ARGV[i + 3] ~= '' then
            keyed = keyed + 1
            known = redis.call('GET', KEYS[keyed])
            known = known and #redis.call('XRANGE', KEYS[1], known, known) == 1 and known
            entry[#entry + 1] = 'key'
            entry[#entry + 1] = ARGV[i + 3]
        end
        if not known then
            known = redis.call(unpack(entry))
            id = '*'
            if ARGV[i + 3] ~= '' then redis.call('SET', KEYS[keyed], known, 'EX', KEPT) end
        end
        ids[#ids + 1] = known
    end
end
return {there and 1 or 0, found and 1 or 0, last and 1 or 0, page, ids}
"""
_TYPES: Final = ", ".join(f"['{name}'] = true" for name in sorted(PROJECTING))
CATCH_UP: Final = _PAGE + (
    _READ_AND_APPEND.replace("PROJECTING", f"{{{_TYPES}}}").replace("LAST", str(LAST)).replace("KEPT", str(DAY))
)

# The first and last entries themselves, which XINFO holds as well and which may have megabytes, stay in the server.
ENDS: Final = """
if redis.call('EXISTS', KEYS[1]) == 0 then return false end
local info = redis.call('XINFO', 'STREAM', KEYS[1])
local found = {}
for i = 1, #info, 2 do found[info[i]] = info[i + 1] end
local first, newest = found['first-entry'], found['last-entry']
return {first and first[1] or '', newest and newest[1] or '', found['last-generated-id']}
"""

# ARGV: after what to begin, and how many entries are counted at the most.
COUNT: Final = f"""{_PAGE}
local found = page_after(ARGV[1], tonumber(ARGV[2]), {BYTES})
return {{#found, #found > 0 and found[1][1] or ''}}
"""

# ARGV: pairs of a stream and the score that was seen.
CAUGHT_UP: Final = """
for i = 1, #ARGV, 2 do
    local score = redis.call('ZSCORE', KEYS[1], ARGV[i])
    if score and tonumber(score) == tonumber(ARGV[i + 1]) then redis.call('ZREM', KEYS[1], ARGV[i]) end
end
"""

# ARGV: who asks, and for how many seconds it holds what no other one does.
HOLD: Final = """
local holder = redis.call('GET', KEYS[1])
if holder and holder ~= ARGV[1] then return holder end
redis.call('SET', KEYS[1], ARGV[1], 'EX', ARGV[2])
return ARGV[1]
"""

# ARGV: milliseconds. What stands longer than that was claimed while the server's clock was ahead.
CLAIM: Final = """
local left = redis.call('PTTL', KEYS[1])
if left >= 0 and left <= tonumber(ARGV[1]) then return false end
return redis.call('SET', KEYS[1], '1', 'PX', ARGV[1])
"""

# ARGV: the entry that must be there, and the one before which all go.
TRIM: Final = """
if #redis.call('XRANGE', KEYS[1], ARGV[1], ARGV[1]) == 0 then return false end
return redis.call('XTRIM', KEYS[1], 'MINID', '=', ARGV[2])
"""
