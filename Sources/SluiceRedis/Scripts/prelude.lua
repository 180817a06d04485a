-- The beginning of every script, put before its body: the clock, and the marker that keeps a batch from running twice.
--
-- KEYS[1]    this replica's marker: holds the sequence of the last batch of its that ran and may have charged; or, negated,
--            when a batch was first told that this store forgot, ms, while none has shown that the replica knows. Behind
--            it, after a space, the sequence of a later batch that ran and charged nothing, if there was one: nothing that was
--            sent before that runs any more, and yet it says nothing of whether it did
-- KEYS[2..]  see the body
--
-- ARGV[1]    MessagePack values, one after the other (not in an array: Redis builds tables slowly):
--            [1] sequence      this batch's, counted from 1 by the replica; negated if it charges nothing; as text: it is
--                              given to a command, and Redis takes microseconds to write out a number of a script's
--            [2] acknowledged  the highest sequence that the replica knows to have run, or to have been told that this
--                              store forgot; 0: none
--            [3] floor         the highest time of this store that the replica has seen, ms; negated while the replica knows
--                              that this store's clock is behind it
--            [4] markerTtl     how long the marker lives, ms; as text
--            [5] told          since when a store forgot, as the replica was last told, ms; 0: never
--            [6] windows       start, end (exclusive), start, end ... in ms since the epoch
--            [7] shapes        what entries have in common: see the body
--            [8] entries       which entry has which shape: see the body
--            [9] memos         see the body; may be left out
--
-- Returns    first, as a list of its own where the body says so:
--            [1] 1: ran; else nothing was charged: 0: this store does not remember `acknowledged`; -1: a later batch
--                of this replica ran before
--            [2] this store's clock, ms
--            [3] the first sequence in the marker before this batch; 0: none; of -1 the last in it; of 0 since when this
--                store has told that it forgot, ms
--            [4] only of 0, and only if something else lay in the marker's place: that, as a string
--            then, if it ran, what the body tells of each entry.
--
-- Numbers are integers up to 2^53, where Lua's are exact; Redis passes them on to commands with all their digits.

local call, try, floor, format = redis.call, redis.pcall, math.floor, string.format
local KEYS = KEYS
local MAX_MARKER = 9007199254740992 -- 2^53: what is less is exact
local MAX_SEQUENCE = 4503599627370496 -- 2^52: as far as a replica follows a marker that is ahead of it
local EXPIRY_SLACK_MS = 60000 -- keys outlive their window, so that a clock that steps back finds them
local MAX_EXACT, MAX_EXACT_TEXT = 9007199254740992, '9007199254740992' -- 2^53
local NOT_A_TALLY = 'ERR value is not an integer or out of range'

local sequenceText, acknowledged, floorMs, markerTtl, told, windows, shapes, entries, memos = cmsgpack.unpack(ARGV[1])
local sequence = tonumber(sequenceText)
local isFence = sequence < 0
if isFence then
    sequence = -sequence
end

local isBehind = floorMs < 0
if isBehind then
    floorMs = -floorMs
end

-- The number that digits make, if it is 2^53 at most: one more would look the same.
local function toCount(digits)
    local number = tonumber(digits)
    return number and (number < MAX_EXACT or digits == MAX_EXACT_TEXT) and number or nil
end

-- The tally under a key, and whether there is one; or nil and what is wrong with it. Only what Redis itself would add to
-- is a tally, from 0 to 2^53: anything else was not counted by a script.
local function readTally(key)
    local value = try('GET', key)
    if not value then
        return 0, false
    end
    if type(value) == 'table' then
        return nil, value.err
    end
    local number = (value == '0' or string.find(value, '^[1-9]%d*$')) and toCount(value)
    if not number then
        return nil, NOT_A_TALLY
    end
    return number, true
end

local time = call('TIME')
local timeMs = time[1] * 1000 + floor(time[2] / 1000)
local now = timeMs > floorMs and timeMs or floorMs

-- The first write: a store that cannot take it (read-only, out of memory) ends the script here, with nothing charged.
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
-- What no script has written is as good as nothing: this store does not remember.
if not newest or newest <= -MAX_MARKER or newest >= MAX_MARKER or newest < previous or (previous < 0 and newest ~= previous)
    or (newest > MAX_SEQUENCE and newest >= sequence) then
    strange = strange or marker:sub(1, 64)
    previous, newest = 0, 0
end
if newest >= sequence then
    call('SET', KEYS[1], marker, 'PX', markerTtl)
    return {-1, timeMs, newest}
end
-- An answer can get lost: it is told again until a batch shows that the replica knows. A sequence does not show that: one
-- of before may come late, and be told.
local isTold = newest < 0
if strange or isTold and told ~= -newest or not isTold and acknowledged > newest then
    local since = isTold and -newest or timeMs
    call('SET', KEYS[1], format('%.0f', -since), 'PX', markerTtl)
    return {0, timeMs, since, strange}
end
if isTold then
    previous = 0
end
if isFence then
    call('SET', KEYS[1], format('%.0f %.0f', previous, sequence), 'PX', markerTtl)
end
