-- The beginning of every script, put before its body: the clock, and the marker that keeps a batch from running twice.
--
-- KEYS[1]    this replica's marker: the sequence of its last batch that ran and may have charged. After a data loss:
--            negated, the time at which a batch was first answered with that loss, ms, until a batch acknowledges it.
--            After a space may follow the sequence of a later batch that ran and charged nothing (a fence): batches
--            sent before the fence do not run any more, but it does not show whether they ran
-- KEYS[2..]  see the body
--
-- ARGV[1]    MessagePack values, one after the other (not in an array: Redis builds tables slowly):
--            [1] sequence      of this batch, counted from 1 by the replica; negated if it charges nothing; as text,
--                              because a command takes it and Redis needs microseconds to format a script's number
--            [2] acknowledged  the highest sequence that the replica knows to have run, or to have been answered with a
--                              data loss; 0: none
--            [3] floor         the highest time of this store that the replica has seen, ms; negated while the replica
--                              knows that this store's clock is behind it
--            [4] markerTtl     how long the marker lives, ms; as text
--            [5] ackedLossMs   the time of the data loss that the replica last acknowledged, ms; 0: none
--            [6] required      the sequence of a batch that must have run before; 0: none
--            [7] windows       start, end (exclusive), start, end ... in ms since the epoch
--            [8] shapes        what entries have in common: see the body
--            [9] entries       which entry has which shape: see the body
--            [10] idempotency  see the body; may be left out
--
-- Returns    first, as a list of its own where the body says so:
--            [1] 1: ran. Otherwise nothing was charged: 0: this store has no record of `acknowledged` (data loss); -1:
--                a later batch of this replica ran before, or `required` did not
--            [2] this store's clock, ms
--            [3] after 1: the first sequence in the marker before this batch, 0: none; after -1: the last sequence in
--                the marker; after 0: the time at which the data loss was first reported, ms
--            [4] only after 0, and only if the marker's key held an unexpected value: that value or error, as a string
--            then, if it ran, what the body returns for each entry.
--
-- Numbers are integers up to 2^53, where Lua's are exact; Redis passes them on to commands with all their digits.

local call, try, floor, format = redis.call, redis.pcall, math.floor, string.format
local KEYS = KEYS
local MAX_MARKER = 9007199254740992 -- 2^53: numbers below it are exact
local MAX_SEQUENCE = 4503599627370496 -- 2^52: a replica accepts a marker ahead of it up to here
local EXPIRY_SLACK_MS = 60000 -- keys outlive their window, so that they are still there if the clock steps back
local MAX_EXACT, MAX_EXACT_TEXT = 9007199254740992, '9007199254740992' -- 2^53
local NOT_A_COUNT = 'ERR value is not an integer or out of range'

local sequenceText, acknowledged, minTimeMs, markerTtl, ackedLossMs, required, windows, shapes, entries,
    idempotency = cmsgpack.unpack(ARGV[1])
local sequence = tonumber(sequenceText)
local isFence = sequence < 0
if isFence then
    sequence = -sequence
end

local isBehind = minTimeMs < 0
if isBehind then
    minTimeMs = -minTimeMs
end

-- The number that the digits denote, if it is at most 2^53: in Lua 2^53 + 1 equals 2^53.
local function toCount(digits)
    local number = tonumber(digits)
    return number and (number < MAX_EXACT or digits == MAX_EXACT_TEXT) and number or nil
end

-- The usage stored under a key and whether the key exists; or nil and the fault. Valid are the integers from 0 to 2^53
-- that `INCRBY` accepts: no script writes anything else.
local function readCounter(key)
    local value = try('GET', key)
    if not value then
        return 0, false
    end
    if type(value) == 'table' then
        return nil, value.err
    end
    local number = (value == '0' or string.find(value, '^[1-9]%d*$')) and toCount(value)
    if not number then
        return nil, NOT_A_COUNT
    end
    return number, true
end

local time = call('TIME')
local timeMs = time[1] * 1000 + floor(time[2] / 1000)
local now = timeMs > minTimeMs and timeMs or minTimeMs

-- The first write: a store that cannot write (read-only, out of memory) ends the script here, with nothing charged.
local marker = try('SET', KEYS[1], sequenceText, 'PX', markerTtl, 'GET') or '0'
local strange
if type(marker) == 'table' then
    strange = marker.err
    if strange:find('WRONGTYPE', 1, true) then
        call('DEL', KEYS[1])
    end
    call('SET', KEYS[1], sequenceText, 'PX', markerTtl, 'GET')
    marker = ''
end
local charged, later = marker:match('^(%-?%d+)(.*)$')
local previous = tonumber(charged)
local newest = previous
if previous and later ~= '' then
    newest = tonumber(later:match('^ (%d+)$'))
end
-- A marker that no script can have written counts as a data loss.
if not newest or newest <= -MAX_MARKER or newest >= MAX_MARKER or newest < previous or (previous < 0 and newest ~= previous)
    or (newest > MAX_SEQUENCE and newest >= sequence) then
    strange = strange or marker:sub(1, 64)
    previous, newest = 0, 0
end
if newest >= sequence then
    call('SET', KEYS[1], marker, 'PX', markerTtl)
    return {-1, timeMs, newest}
end
-- An answer can get lost, so the loss is reported until a batch acknowledges it. A sequence is no acknowledgement: an
-- older batch may arrive late and be answered with the loss.
local hasReportedLoss = newest < 0
if strange or hasReportedLoss and ackedLossMs ~= -newest or not hasReportedLoss and acknowledged > newest then
    local since = hasReportedLoss and -newest or timeMs
    call('SET', KEYS[1], format('%.0f', -since), 'PX', markerTtl)
    return {0, timeMs, since, strange}
end
if hasReportedLoss then
    previous = 0
end
if required > previous then
    call('SET', KEYS[1], marker, 'PX', markerTtl)
    return {-1, timeMs, newest > 0 and newest or 0}
end
if isFence then
    call('SET', KEYS[1], format('%.0f %.0f', previous, sequence), 'PX', markerTtl)
end
