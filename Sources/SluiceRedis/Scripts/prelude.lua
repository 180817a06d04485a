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
--            [2] before        the sequence before this one, as text: what the marker holds if nothing went wrong
--            [3] sequence      the same as [1], as a number
--            [4] acknowledged  the highest sequence that the replica knows to have run, or to have been answered with a
--                              data loss; 0: none
--            [5] floor         the highest time of this store that the replica has seen, ms; negated while the replica
--                              knows that this store's clock is behind it
--            [6] markerTtl     how long the marker lives, ms; as text
--            [7] renews        1: that begins again with this batch; 0: only if the marker is new
--            [8] ackedLossMs   the time of the data loss that the replica last acknowledged, ms; 0: none
--            [9] required      the sequence of a batch that must have run before; 0: none
--            [10..] see the body
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
--
-- A script is run anew for each batch, so each function, table and command of it costs Redis as much as a part of a
-- check. What most batches need has none that it can do without; functions are made below what returns before them.

local call, try, floor, format = redis.call, redis.pcall, math.floor, string.format
local KEYS = KEYS
local MAX_EXACT = 9007199254740992 -- 2^53: numbers below it are exact
local EXPIRY_SLACK_MS = 60000 -- keys outlive their window, so that they are still there if the clock steps back

-- A constructor that takes all values at once makes a table of the right size.
local batch = {cmsgpack.unpack(ARGV[1])}
local sequenceText, sequence, minTimeMs, markerTtl = batch[1], batch[3], batch[5], batch[6]
local isBehind = minTimeMs < 0
if isBehind then
    minTimeMs = -minTimeMs
end

local time = call('TIME')
local timeMs = time[1] * 1000 + floor(time[2] / 1000)
local now = timeMs > minTimeMs and timeMs or minTimeMs

-- The first write: a store that cannot write (read-only, out of memory) ends the script here, with nothing charged.
local marker
if batch[7] == 1 then
    marker = try('SET', KEYS[1], sequenceText, 'PX', markerTtl, 'GET')
else
    marker = try('SET', KEYS[1], sequenceText, 'KEEPTTL', 'GET')
end
local previous = sequence - 1
if marker ~= batch[2] or sequence < 0 then
    local MAX_SEQUENCE = 4503599627370496 -- 2^52: a replica accepts a marker ahead of it up to here
    local acknowledged, ackedLossMs, required = batch[4], batch[8], batch[9]
    local isFence = sequence < 0
    if isFence then
        sequence = -sequence
    end
    local strange
    if type(marker) == 'table' then
        strange = marker.err
        if strange:find('WRONGTYPE', 1, true) then
            call('DEL', KEYS[1])
        end
        call('SET', KEYS[1], sequenceText, 'PX', markerTtl, 'GET')
        marker = ''
    elseif not marker then
        call('SET', KEYS[1], sequenceText, 'PX', markerTtl)
        marker = '0'
    end
    local charged, later = marker:match('^(%-?%d+)(.*)$')
    previous = tonumber(charged)
    local newest = previous
    if previous and later ~= '' then
        newest = tonumber(later:match('^ (%d+)$'))
    end
    -- A marker that no script can have written counts as a data loss.
    if not newest or newest <= -MAX_EXACT or newest >= MAX_EXACT or newest < previous
        or (previous < 0 and newest ~= previous) or (newest > MAX_SEQUENCE and newest >= sequence) then
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
end
